package follow

import (
	"runtime"
	"sync"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/bus"
)

func newCores() chan struct{} { return make(chan struct{}, runtime.GOMAXPROCS(0)) }

// decoding verifies the messages of one batch while they come in. add and wait
// are for one goroutine.
type decoding struct {
	keys  *events.KeySet
	fleet events.Fleet
	cores chan struct{}

	todo    chan *Message
	all     []*Message
	workers sync.WaitGroup
	started int
}

func newDecoding(keys *events.KeySet, fleet events.Fleet, cores chan struct{}) *decoding {
	return &decoding{keys: keys, fleet: fleet, cores: cores, todo: make(chan *Message, readMessages)}
}

func (d *decoding) add(raw bus.Message) {
	m := &Message{Seq: raw.Seq, Raw: raw.Data}
	d.all = append(d.all, m)
	d.todo <- m
	// One for the first message, more while messages wait.
	if d.started == 0 || d.started < cap(d.cores) && len(d.todo) > d.started {
		d.started++
		d.workers.Go(d.work)
	}
}

func (d *decoding) work() {
	for m := range d.todo {
		d.cores <- struct{}{}
		*m = Decode(d.keys, d.fleet, m.Seq, m.Raw)
		<-d.cores
	}
}

// wait gives all messages in the order in which they were added.
func (d *decoding) wait() []Message {
	close(d.todo)
	d.workers.Wait()
	out := make([]Message, len(d.all))
	for i, m := range d.all {
		out[i] = *m
	}
	return out
}
