package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/bus"
	"github.com/rescind/rescind/internal/denylist"
	"github.com/rescind/rescind/internal/follow"
	"github.com/schollz/progressbar/v3"
	"golang.org/x/sync/errgroup"
)

// readFigures say what it takes a new agent to hold the whole set.
type readFigures struct {
	// Messages were read, of Bytes altogether; Events of them were verified and
	// taken, Expired left out because they can hit no live token any more.
	Messages int64   `json:"messages"`
	Bytes    int64   `json:"bytes"`
	Events   int     `json:"events"`
	Expired  int     `json:"expired"`
	Seconds  float64 `json:"seconds"`
	// Refused messages did not verify, by reason.
	Refused map[string]int `json:"refused,omitempty"`
	// Entries are identities and rules that stand.
	Entries int `json:"entries"`
	// TableBytes is what the tables take that checks read; HeapBytes what all live
	// objects of this program do, the set's records included.
	TableBytes int64 `json:"table_bytes"`
	HeapBytes  int64 `json:"heap_bytes"`
}

// newcomer reads the event streams into a set in memory, as an agent does that
// begins with nothing, and tells nobody of itself.
type newcomer struct {
	bus  *bus.Bus
	keys *events.KeySet
	set  *denylist.Set
	bar  *progress

	mu      sync.Mutex
	figures readFigures
	pending map[events.Stream]int64
}

// What an agent asks for in one read.
const (
	benchReadMessages = 1000
	benchReadBytes    = 4 << 20
)

func (b *bench) readSet(ctx context.Context) (*denylist.Set, *readFigures, error) {
	set, err := denylist.Open(denylist.Options{Fleet: b.bus.Fleet()})
	if err != nil {
		return nil, nil, err
	}
	n := &newcomer{bus: b.bus, keys: b.keys, set: set, pending: map[events.Stream]int64{},
		bar:     newProgress(b.std.err, "reading the streams ", 0, progressbar.OptionShowCount()),
		figures: readFigures{Refused: map[string]int{}}}
	begun := time.Now()
	err = n.read(ctx)
	n.bar.end()
	if err != nil {
		return nil, nil, err
	}
	f := &n.figures
	f.Seconds = time.Since(begun).Seconds()
	f.Entries, f.TableBytes, f.HeapBytes = set.Len(), int64(set.TableBytes()), heap()
	return set, f, nil
}

// heap is what the program's live objects take, in bytes.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// read reads the streams side by side, as an agent does.
func (n *newcomer) read(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, s := range events.EventStreams {
		group.Go(func() error { return n.readStream(ctx, s) })
	}
	return group.Wait()
}

func (n *newcomer) readStream(ctx context.Context, s events.Stream) error {
	for from := uint64(0); ; {
		b, err := n.bus.Read(ctx, s, from, benchReadMessages, benchReadBytes)
		if errors.Is(err, bus.ErrUnavailable) && ctx.Err() == nil {
			return fmt.Errorf("%w; is %s there (rescind streams apply), and is --fleet right?", err, n.bus.Fleet().StreamName(s))
		}
		if err != nil {
			return err
		}
		n.take(s, b)
		if b.Complete && !b.Broken {
			return nil
		}
		if len(b.Messages) > 0 {
			from = b.Messages[len(b.Messages)-1].Seq + 1
		}
	}
}

// take verifies what was read and puts it into the set.
func (n *newcomer) take(s events.Stream, b bus.Batch) {
	now := time.Now().Unix()
	var c denylist.Change
	var taken readFigures
	refused := map[string]int{}
	for _, m := range b.Messages {
		taken.Bytes += int64(len(m.Data))
		msg := follow.Decode(n.keys, n.bus.Fleet(), m.Seq, m.Data)
		switch {
		case msg.Err != nil:
			refused[events.Reason(msg.Err)]++
		case msg.Event.Expires <= now:
			taken.Expired++
		default:
			c.Records = append(c.Records, denylist.RecordOf(msg.Event, msg.KeyID, s, msg.Seq))
		}
	}
	n.set.Stage(c)

	n.mu.Lock()
	defer n.mu.Unlock()
	n.figures.Messages += int64(len(b.Messages))
	n.figures.Bytes += taken.Bytes
	n.figures.Expired += taken.Expired
	n.figures.Events += len(c.Records)
	for reason, count := range refused {
		n.figures.Refused[reason] += count
	}
	n.pending[s] = int64(b.Pending)
	left := int64(0)
	for _, p := range n.pending {
		left += p
	}
	n.bar.add(int64(len(b.Messages)), left)
}

func (f *readFigures) print(b *bench) {
	b.row("read", "%s (%s) in %s, verified", counted(int(f.Messages), "message"), size(f.Bytes), seconds(f.Seconds))
	expired := ""
	if f.Expired > 0 {
		expired = fmt.Sprintf("; %s more had expired", grouped(int64(f.Expired)))
	}
	b.row("holds", "%s of %s%s", counted(f.Entries, "entry"), counted(f.Events, "event"), expired)
	b.row("memory", "%s of tables that checks read, %s with all else", size(f.TableBytes), size(f.HeapBytes))
	if len(f.Refused) > 0 {
		b.warn("%s did not verify (%s): an agent with these keys", counted(total(f.Refused), "message"), reasons(f.Refused))
		b.warn("would not take them either")
	}
}
