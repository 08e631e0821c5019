package main

import (
	"cmp"
	"context"
	"io"
	"os"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// terminal gives w's file when it is a terminal.
func terminal(w io.Writer) (*os.File, bool) {
	f, ok := w.(*os.File)
	return f, ok && term.IsTerminal(int(f.Fd()))
}

// newPage is the page that w shows. The variable NO_COLOR (no-color.org) and a
// terminal that knows no colours are minded.
func newPage(w io.Writer) page {
	f, ok := terminal(w)
	if !ok {
		return page{width: usual}
	}
	columns, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		columns = usual
	}
	return page{width: min(max(columns, narrowest), widest),
		colour: os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
}

// progress shows how far something is, on a terminal only. The zero progress
// shows nothing. It is safe for concurrent use.
type progress struct {
	mu    sync.Mutex
	bar   *progressbar.ProgressBar
	done  int64
	total int64
}

// drawEvery is how often a bar is drawn at most.
const drawEvery = 100 * time.Millisecond

// newProgress begins a bar for what is of total steps, which may be unknown: 0.
func newProgress(w io.Writer, what string, total int64, options ...progressbar.Option) *progress {
	f, ok := terminal(w)
	if !ok {
		return &progress{}
	}
	total = max(total, 1)
	options = append([]progressbar.Option{progressbar.OptionSetWriter(f), progressbar.OptionSetDescription(what),
		progressbar.OptionSetWidth(30), progressbar.OptionThrottle(drawEvery), progressbar.OptionClearOnFinish(),
		progressbar.OptionSetTheme(progressbar.Theme{Saucer: "█", SaucerPadding: "░"})}, options...)
	p := &progress{total: total, bar: progressbar.NewOptions64(total, options...)}
	_ = p.bar.RenderBlank() // what cannot be drawn is not missed
	return p
}

// add counts steps that are done, and says how many more are known of.
func (p *progress) add(done, left int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bar == nil {
		return
	}
	// A bar that is full counts as finished, and end does that.
	p.total = max(p.total, p.done+done+cmp.Or(left, 1))
	p.bar.ChangeMax64(p.total)
	p.done += done
	_ = p.bar.Set64(p.done)
}

// end takes the bar away.
func (p *progress) end() {
	if p.bar != nil {
		_ = p.bar.Finish()
	}
}

// countdown waits for d or for the end of ctx, with a bar.
func countdown(ctx context.Context, w io.Writer, what string, d time.Duration) error {
	p := newProgress(w, what, d.Milliseconds(), progressbar.OptionSetPredictTime(false))
	defer p.end()
	tick := time.NewTicker(drawEvery)
	defer tick.Stop()
	for begun, before := time.Now(), int64(0); ; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		passed := time.Since(begun)
		if passed >= d {
			return nil
		}
		p.add(passed.Milliseconds()-before, 0)
		before = passed.Milliseconds()
	}
}
