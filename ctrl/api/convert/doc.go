// Package convert turns messages of the control API into objects of policy and
// back. It reads words and numbers and judges nothing but whether they are such;
// what an object may be is for dataplane/policy to say. What came from policy
// comes back as it was.
//
// Floor 3. It is pure, and imports the generated code and policy alone: both ends
// of the socket use it, with DPDK and without.
package convert
