// Package api is the control API's wire format: the protocol in paca/v1, the code
// generated from it, and here the one place that makes its errors.
//
// Floor 3. It imports nothing of paca but the generated code, because programs
// without a dataplane speak it.
package api

//go:generate ./generate.sh
