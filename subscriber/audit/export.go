package audit

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/rescind/rescind/events"
)

// Export writes all that the audit stream holds at this moment to w, as the lines
// of a new audit file, and gives the checkpoint that VerifyLines takes. It touches
// no consumer. To keep an export up to date use a File and CatchUp.
func (r *Reader) Export(ctx context.Context, w io.Writer) (Checkpoint, error) {
	var at Checkpoint
	out := bufio.NewWriter(w)
	cur := newCursor()
	err := r.catchUp(ctx, &cur, func(lines []Line) error {
		for i := range lines {
			if _, err := out.Write(at.link(&lines[i])); err != nil {
				return err
			}
		}
		return nil
	})
	if err = errors.Join(err, out.Flush()); err != nil {
		return at, fmt.Errorf("exporting the audit stream: %w", err)
	}
	return at, nil
}

// From says where Tail begins.
type From int

// Tail begins with what comes in from now on, or with the stream's beginning.
const (
	FromNow From = iota
	FromBeginning
)

// tailEvery is how long Tail waits before it looks for more, tailSettle how many
// times it does so before it asks the stream's leader whether the stream is still
// the same: that question is too dear to be asked every time.
const (
	tailEvery  = 250 * time.Millisecond
	tailSettle = 8
)

// Tail gives each message of the audit stream to emit, in order and each once,
// until ctx ends, and then returns nil, or until emit fails, and then returns its
// error. The lines have no number and no Prev. It touches no consumer: any number
// of people can watch. Outages are waited out. It remembers what it gave, as
// OpenFile does.
func (r *Reader) Tail(ctx context.Context, from From, emit func(*Line) error) error {
	cur := newCursor()
	if from == FromNow {
		info, err := r.bus.Info(ctx, events.Audit)
		if err != nil {
			return fmt.Errorf("reading the audit stream: %w", err)
		}
		cur.pos = info.Last
	}
	var refused error
	give := func(lines []Line) error {
		for i := range lines {
			if refused = emit(&lines[i]); refused != nil {
				return refused
			}
		}
		return nil
	}
	again := time.NewTicker(tailEvery)
	defer again.Stop()
	for n := 0; ; n++ {
		var err error
		if n%tailSettle == 0 {
			err = r.catchUp(ctx, &cur, give)
		} else {
			err = r.readAll(ctx, &cur, give)
		}
		switch {
		case refused != nil:
			return refused
		case ctx.Err() != nil:
			return nil
		case err != nil:
			r.log.Warn("reading the audit stream; trying again", "err", err)
			n = -1 // whatever happened may have changed the stream
		}
		select {
		case <-ctx.Done():
			return nil
		case <-again.C:
		}
	}
}

// readAll reads until nothing comes.
func (r *Reader) readAll(ctx context.Context, cur *cursor, to sink) error {
	for {
		if n, err := r.readOn(ctx, cur, to); n == 0 || err != nil {
			return err
		}
	}
}
