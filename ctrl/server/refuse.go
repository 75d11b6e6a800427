package server

import (
	"context"
	"errors"
	"strings"

	"connectrpc.com/connect"

	"paca/ctrl/api"
	pacav1 "paca/ctrl/api/paca/v1"
	"paca/ctrl/store"
	"paca/dataplane/policy"
)

// Bounds of what an error carries: gRPC sends it in an HTTP header.
const (
	maxFaults    = 20
	maxFaultText = 300
)

// causes is the code of each thing that a program may react to.
var causes = []struct {
	err  error
	code pacav1.ErrorCode
}{
	{policy.ErrExists, pacav1.ErrorCode_ERROR_CODE_ALREADY_EXISTS},
	{policy.ErrNotFound, pacav1.ErrorCode_ERROR_CODE_NOT_FOUND},
	{policy.ErrInUse, pacav1.ErrorCode_ERROR_CODE_IN_USE},
	{policy.ErrPinned, pacav1.ErrorCode_ERROR_CODE_READ_ONLY},
	{ErrConflict, pacav1.ErrorCode_ERROR_CODE_CONFLICT},
	{ErrUnavailable, pacav1.ErrorCode_ERROR_CODE_UNAVAILABLE},
	{store.ErrClosed, pacav1.ErrorCode_ERROR_CODE_UNAVAILABLE},
	{store.ErrCompacted, pacav1.ErrorCode_ERROR_CODE_COMPACTED},
}

func codeOf(err error) pacav1.ErrorCode {
	for _, c := range causes {
		if errors.Is(err, c.err) {
			return c.code
		}
	}
	return pacav1.ErrorCode_ERROR_CODE_UNSPECIFIED
}

// refuse words what a Policy said for the client.
func refuse(err error) error {
	var already *connect.Error
	if err == nil || errors.As(err, &already) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	faults := policy.Faults(err)
	if len(faults) == 0 {
		code := codeOf(err)
		if code == pacav1.ErrorCode_ERROR_CODE_UNSPECIFIED {
			return connect.NewError(connect.CodeInternal, err)
		}
		return api.Refuse(code, "", "", "%w", err)
	}

	// Faults of one cause have its code; mixed ones, or of no cause, are INVALID.
	code := codeOf(faults[0])
	detail := &pacav1.ErrorDetail{Field: place(faults[0]), Rule: faults[0].Rule, FaultCount: uint32(len(faults))}
	for i, f := range faults {
		if codeOf(f) != code {
			code = pacav1.ErrorCode_ERROR_CODE_UNSPECIFIED
		}
		if i < maxFaults {
			detail.Faults = append(detail.Faults, &pacav1.Fault{Object: f.Object, Index: uint32(f.Index), Field: f.Field, Problem: clip(f.Problem), Rule: f.Rule})
		}
	}
	if detail.Code = code; code == pacav1.ErrorCode_ERROR_CODE_UNSPECIFIED {
		detail.Code = pacav1.ErrorCode_ERROR_CODE_INVALID
	}
	if len(faults) == 1 {
		return api.RefuseWith(detail, "%s: %s", detail.Field, clip(faults[0].Problem))
	}
	return api.RefuseWith(detail, "%d faults, the first in %s: %s", len(faults), detail.Field, clip(faults[0].Problem))
}

// place is where a fault is, as in "lookup_record[3].ca"; the index is that of the
// change.
func place(f *policy.Fault) string { return strings.TrimSuffix(f.Key(), ".") }

func clip(s string) string {
	if len(s) > maxFaultText {
		return strings.ToValidUTF8(s[:maxFaultText], "") + "…"
	}
	return s
}
