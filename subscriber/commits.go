package subscriber

import (
	"time"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/denylist"
)

const (
	// commitApart is how far apart commits begin while events keep coming: each
	// takes many of them, and the disk's syncs, which queue behind each other, are
	// left to the server and the publishers.
	commitApart = 5 * time.Millisecond
	commitRetry = time.Second
)

// commits says when the set is to be committed.
type commits struct {
	// running tells that a commit is under way, dirty that there is something for
	// the next.
	running, dirty bool
	begun          time.Time
	// pause runs while the next commit waits for its time, nil otherwise.
	pause *time.Timer
	// retryAt is when a commit that failed is tried again, 0 after one that did not.
	retryAt time.Duration
}

// due gives when the next commit's time has come; it blocks for ever when none
// waits.
func (c *commits) due() <-chan time.Time {
	if c.pause == nil {
		return nil
	}
	return c.pause.C
}

func (c *commits) stop() {
	if c.pause != nil {
		c.pause.Stop()
	}
}

// commitSoon starts a commit unless one is under way or waits; what is staged
// meanwhile shares the next. While the marks of lifted events are corrected none
// begins: the counts come before the position.
func (l *loop) commitSoon() {
	c := &l.commits
	c.dirty = true
	if c.running || c.pause != nil || l.lifting {
		return
	}
	c.running, c.dirty, c.begun = true, false, time.Now()
	if l.cfg.Dir == "" {
		l.committed(l.set.Commit()) // in memory it waits for nothing
		return
	}
	l.done.Go(func() {
		cursors, err := l.set.Commit()
		l.reached("durable", len(cursors))
		l.input(func(l *loop) { l.committed(cursors, err) })
	})
}

// commitDue ends the pause between two commits.
func (l *loop) commitDue() {
	l.commits.pause = nil
	l.commitSoon()
}

func (l *loop) committed(cursors map[events.Stream]denylist.Cursor, err error) {
	c := &l.commits
	c.running = false
	if err != nil {
		if l.diskErr == "" {
			l.log.Error("writing the denylist; enforcement goes on from memory", "err", err)
		}
		l.diskErr, c.dirty = err.Error(), true
		c.retryAt = l.instant().mono + commitRetry
		l.core.report.fault(events.Fault{Type: "disk", Detail: err.Error()})
		return
	}
	l.diskErr, l.written, c.retryAt, l.settling = "", cursors, 0, true
	// When nothing came while it ran, the next event is committed at once.
	if c.dirty {
		c.pause = time.NewTimer(commitApart - time.Since(c.begun))
	}
}
