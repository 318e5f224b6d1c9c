//go:build mips || mipsle

#include "textflag.h"

// func current() uintptr
TEXT ·current(SB), NOSPLIT, $0-4
	MOVW g, ret+0(FP)
	RET
