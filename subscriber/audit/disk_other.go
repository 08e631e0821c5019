//go:build !unix

package audit

import "os"

// lock does nothing where there is no flock: the caller must see to it that one
// process writes.
func lock(*os.File) error { return nil }

// syncDir does nothing where directories cannot be synced.
func syncDir(string) error { return nil }
