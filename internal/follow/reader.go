package follow

import (
	"context"
	"sync"
	"time"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/bus"
)

const (
	readMessages = 1000
	readBytes    = 4 << 20
	readTimeout  = 10 * time.Second
)

// Reader does the reads that the Streams of one follower ask for. It verifies on
// all cores while a read is still coming in, and when the stream has more it asks
// for that at once. It holds two batches of a stream at most, each of 1,000
// messages or 4 MiB. Start is safe for concurrent use.
type Reader struct {
	ctx   context.Context
	bus   *bus.Bus
	keys  func() *events.KeySet
	spawn func(func())
	// cores bounds how many messages are verified at a time, over all streams.
	cores chan struct{}

	mu    sync.Mutex
	ahead map[events.Stream]*read
}

// NewReader makes a Reader. Its reads end with ctx, and run in goroutines that
// spawn starts and the owner waits for. keys gives the keys of the moment.
func NewReader(ctx context.Context, b *bus.Bus, keys func() *events.KeySet, spawn func(func())) *Reader {
	return &Reader{ctx: ctx, bus: b, keys: keys, spawn: spawn, cores: newCores(), ahead: map[events.Stream]*read{}}
}

// read is one read, asked for or ahead.
type read struct {
	stream events.Stream
	from   uint64
	ctx    context.Context
	cancel context.CancelFunc
	// taken is who wants to know what it gives.
	taken chan func(Batch, error)
}

// Start begins what a Fetch asks for, or takes the read ahead that answers it. A
// read ahead that does not is dropped. done is called once, from another
// goroutine, unless ctx has ended.
func (r *Reader) Start(s events.Stream, f Fetch, done func(Batch, error)) {
	r.mu.Lock()
	rd := r.ahead[s]
	delete(r.ahead, s)
	r.mu.Unlock()
	if rd != nil && (f.Anew || rd.from != f.From) {
		rd.cancel()
		rd = nil
	}
	if rd == nil {
		rd = r.begin(s, f.From)
	}
	rd.taken <- done
}

func (r *Reader) begin(s events.Stream, from uint64) *read {
	rd := &read{stream: s, from: from, taken: make(chan func(Batch, error), 1)}
	rd.ctx, rd.cancel = context.WithCancel(r.ctx)
	r.spawn(func() { r.run(rd) })
	return rd
}

// run reads, and hands over what it read to the one who takes it. The next read
// begins as soon as this one is taken and its last message is here, though not
// all is verified yet: only one is ahead of the follower.
func (r *Reader) run(rd *read) {
	defer rd.cancel()
	keys := r.keys()
	d := newDecoding(keys, r.bus.Fleet(), r.cores)
	batch, err := r.read(rd, d.add)
	var done func(Batch, error)
	select {
	case done = <-rd.taken:
	case <-rd.ctx.Done():
		d.wait()
		return
	}
	if n := len(batch.Messages); err == nil && n > 0 && !batch.Complete && !batch.Broken {
		r.readAhead(rd.stream, batch.Messages[n-1].Seq)
	}
	done(Batch{Messages: d.wait(), Complete: batch.Complete && !batch.Broken, Keys: keys}, err)
}

func (r *Reader) read(rd *read, each func(bus.Message)) (bus.Batch, error) {
	ctx, cancel := context.WithTimeout(rd.ctx, readTimeout)
	defer cancel()
	return r.bus.ReadEach(ctx, rd.stream, rd.from, readMessages, readBytes, each)
}

// readAhead begins to read behind what has come, from the event that will then be
// the position.
func (r *Reader) readAhead(s events.Stream, from uint64) {
	rd := r.begin(s, from)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ahead[s] = rd
}
