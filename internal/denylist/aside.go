package denylist

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// keepAside is how many damaged files are kept for people to look at.
const keepAside = 2

// putAside renames a damaged file to NAME.damaged-TIME and removes the oldest
// of those that lie there beyond keepAside.
func putAside(path string, now time.Time) error {
	times, err := asideTimes(path)
	if err != nil {
		return err
	}
	at := now.Unix()
	if n := len(times); n > 0 {
		at = max(at, times[n-1]+1)
	}
	if err := os.Rename(path, asideName(path, at)); err != nil {
		return err
	}
	times = append(times, at)
	for len(times) > keepAside {
		if err := os.Remove(asideName(path, times[0])); err != nil {
			return err
		}
		times = times[1:]
	}
	return syncDir(path)
}

func asideName(path string, at int64) string { return fmt.Sprintf("%s.damaged-%d", path, at) }

func asideTimes(path string) ([]int64, error) {
	entries, err := os.ReadDir(filepath.Dir(path))
	var times []int64
	for _, e := range entries {
		suffix, ok := strings.CutPrefix(e.Name(), filepath.Base(path)+".damaged-")
		if at, err := strconv.ParseInt(suffix, 10, 64); ok && err == nil {
			times = append(times, at)
		}
	}
	slices.Sort(times)
	return times, err
}

// syncDir makes the names in the file's directory durable.
func syncDir(path string) error {
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
