package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// resident is the memory of a process, in bytes: all of it (VmRSS), and the part
// that no file stands behind. The rest are pages of files, which the kernel takes
// back when it needs them.
type resident struct{ all, anonymous float64 }

func residentOf(pid int) (r resident, err error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return r, err
	}
	for line := range strings.Lines(string(status)) {
		fields := strings.Fields(line)
		if len(fields) != 3 {
			continue
		}
		kib, _ := strconv.ParseFloat(fields[1], 64)
		switch fields[0] {
		case "VmRSS:":
			r.all = kib * 1024
		case "RssAnon:":
			r.anonymous = kib * 1024
		}
	}
	if r.all == 0 {
		return r, fmt.Errorf("process %d has no resident memory", pid)
	}
	return r, nil
}

// cpuTime is what a process has used of the processors since it began.
func cpuTime(pid int) (time.Duration, error) {
	const sched = 2 // CPUCLOCK_SCHED: to the nanosecond, all threads, also those that ended
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|sched), &t); err != nil {
		return 0, fmt.Errorf("reading the CPU clock of process %d: %w", pid, err)
	}
	return time.Duration(t.Nano()), nil
}
