#include "textflag.h"

// func fetch(refs *uintptr, n int, on uintptr)
TEXT ·fetch(SB), NOSPLIT, $0-24
	MOVD refs+0(FP), R0
	MOVD n+8(FP), R1
	MOVD on+16(FP), R2
	ADD  R1<<3, R0, R1
	B    test

next:
	MOVD (R0), R3
	ADD  R3, R2, R4
	PRFM (R3), PLDL1KEEP
	PRFM (R4), PLDL1KEEP
	ADD  $8, R0

test:
	CMP R1, R0
	BLO next
	RET
