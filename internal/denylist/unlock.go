//go:build unix && !aix && !solaris

package denylist

import (
	"os"
	"syscall"
)

// unlock gives up the lock of a file that bbolt does not close any more. Closing
// the file alone would not: the mapping that is left holds it open.
func unlock(f *os.File) { _ = syscall.Flock(int(f.Fd()), syscall.LOCK_UN) }
