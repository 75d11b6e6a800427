#include "textflag.h"

// func fetch(refs *uintptr, n int, on uintptr)
TEXT ·fetch(SB), NOSPLIT, $0-24
	MOVQ refs+0(FP), AX
	MOVQ n+8(FP), CX
	MOVQ on+16(FP), BX
	LEAQ (AX)(CX*8), CX
	JMP  test

next:
	MOVQ       (AX), DX
	PREFETCHT0 (DX)
	PREFETCHT0 (DX)(BX*1)
	ADDQ       $8, AX

test:
	CMPQ AX, CX
	JB   next
	RET
