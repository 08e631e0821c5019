package denylist

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

const hugePage = 2 << 20

// useHugePages asks for huge pages for what lies within b on whole ones, before
// it is first written to. It is a hint: without them all is right, and slower.
func useHugePages(b []byte) {
	skip := -uintptr(unsafe.Pointer(unsafe.SliceData(b))) % hugePage
	if uintptr(len(b)) < skip+hugePage {
		return
	}
	b = b[skip:]
	_ = unix.Madvise(b[:len(b)&^(hugePage-1)], unix.MADV_HUGEPAGE)
}
