package publisher

import (
	"context"
	"fmt"
	"time"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/bus"
)

const (
	beaconEvery = time.Second
	// beaconApart is how far apart beacons are at least, however many agents say
	// hello.
	beaconApart = 100 * time.Millisecond
	infoTimeout = 2 * time.Second
	verifyEvery = 30 * time.Second
)

// pace says when the next beacon is due: once a second, and once more when an
// agent has said hello, which would otherwise wait for the next one to know that
// it holds everything.
type pace struct {
	tick  *time.Ticker
	hello <-chan struct{}
	last  time.Time
}

func newPace(hello <-chan struct{}) *pace {
	return &pace{tick: time.NewTicker(beaconEvery), hello: hello, last: time.Now()}
}

// wait waits until a beacon is due and tells false when ctx has ended.
func (p *pace) wait(ctx context.Context) bool {
	select {
	case <-p.tick.C:
	case <-p.hello:
		soon := time.NewTimer(beaconApart - time.Since(p.last))
		defer soon.Stop()
		select {
		case <-soon.C:
		case <-ctx.Done():
		}
	case <-ctx.Done():
	}
	p.last = time.Now()
	return ctx.Err() == nil
}

// saidHello asks for a beacon soon. One that is asked for already is enough.
func (p *Publisher) saidHello() {
	select {
	case p.hellos <- struct{}{}:
	default:
	}
}

// beaconLoop asks the stream leaders how far the streams reach, once a second and
// when agents say hello, and hands it to the loop, which tells the agents. While a leader does not
// answer there is no beacon, and the agents grow stale: they would be told
// nothing true.
func (p *Publisher) beaconLoop() {
	pace := newPace(p.hellos)
	defer pace.tick.Stop()
	var verified time.Time
	for due := true; due; due = pace.wait(p.ctx) {
		if p.nc.IsConnected() {
			if time.Since(verified) > verifyEvery {
				if err := p.verifyStreams(); err != nil {
					p.notReady(err.Error())
				} else {
					verified = time.Now()
				}
			}
			if !verified.IsZero() {
				p.askLeaders()
			}
		} else {
			p.notReady("not connected to NATS")
			verified = time.Time{}
		}
	}
}

func (p *Publisher) verifyStreams() error {
	ctx, cancel := context.WithTimeout(p.ctx, infoTimeout)
	defer cancel()
	return p.bus.Verify(ctx, p.streamSettings())
}

// streamSettings are those of the configuration; events are kept for as long as
// the longest-lived of any realm.
func (p *Publisher) streamSettings() bus.Settings {
	s := p.cfg.Streams
	if s.MaxAge == 0 {
		d := p.longest(events.Target{Kind: events.KindAll})
		s.MaxAge = d.skew + d.life
	}
	return s
}

func (p *Publisher) askLeaders() {
	sent, incarnation := p.now(), p.incarnation.Load()
	infos := map[events.Stream]bus.Info{}
	for _, s := range events.EventStreams {
		ctx, cancel := context.WithTimeout(p.ctx, infoTimeout)
		info, err := p.bus.Info(ctx, s)
		cancel()
		if err != nil {
			p.notReady(fmt.Sprintf("stream %s: %v", s, err))
			return
		}
		infos[s] = info
	}
	p.input(func(l *loop) {
		// One that was begun before the clock was set says a time of the old clock.
		if l.incarnation.Load() == incarnation {
			l.beacon(sent, infos)
		}
	})
}

// beacon takes the leaders' word and sends it on, signed.
func (l *loop) beacon(sent time.Time, infos map[events.Stream]bus.Info) {
	b := events.Beacon{SentAt: sent.UnixMilli(), Streams: map[events.Stream]events.Watermark{}}
	reading := false
	for _, s := range events.EventStreams {
		i := infos[s]
		w := events.Watermark{Epoch: i.Epoch, First: i.First, Last: i.Last}
		l.watermark(s, w, i.Msgs)
		w.Owed = l.owed(s)
		b.Streams[s] = w
		l.republishOwed(s)
		reading = reading || l.streams[s].Rereading()
		if i.MaxBytes > 0 && float64(i.Bytes) > 0.7*float64(i.MaxBytes) {
			l.log.Warn("a stream is more than 70 % full", "stream", s, "bytes", i.Bytes, "max_bytes", i.MaxBytes)
		}
	}
	l.beaconNo++
	b.Origin = events.Origin{Publisher: l.id, Incarnation: *l.incarnation.Load(), Counter: l.beaconNo}
	fault := l.ledgerFault.Load()
	raw, err := l.cfg.Signer.SignBeacon(l.fleet, l.cfg.Issuer, &b)
	if err == nil {
		err = l.nc.Publish(l.fleet.BeaconSubject(), raw)
	}
	switch {
	case err != nil:
		l.log.Error("sending a beacon", "err", err)
	case l.listening:
		l.notReady(listening)
	case reading:
		l.notReady("reading the streams")
	case fault != nil:
		l.notReady(*fault)
	default:
		l.isReady()
	}
}
