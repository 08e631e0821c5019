package bustest

import (
	"net"
	"strings"
	"sync"
	"testing"
)

// Proxy is a network between a client and a server that can fail. Its methods are
// safe for concurrent use.
type Proxy struct {
	listener net.Listener
	target   string
	wg       sync.WaitGroup

	mu    sync.Mutex
	state proxyState
	conns map[net.Conn]struct{}
	// healed is closed when a black hole ends.
	healed chan struct{}
}

type proxyState int

const (
	proxyOpen proxyState = iota
	proxyCut
	proxyBlackHole
	proxyClosed
)

// NewProxy starts a proxy in front of the server at a nats:// URL and stops it
// when the test ends.
func NewProxy(t testing.TB, url string) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("bustest: proxy: %v", err)
	}
	p := &Proxy{listener: l, target: strings.TrimPrefix(url, "nats://"),
		conns: map[net.Conn]struct{}{}, healed: make(chan struct{})}
	close(p.healed)
	p.wg.Go(p.accept)
	t.Cleanup(p.close)
	return p
}

// URL is what clients connect to instead of the server.
func (p *Proxy) URL() string { return "nats://" + p.listener.Addr().String() }

// Cut closes all connections and those that come, until Heal.
func (p *Proxy) Cut() { p.turn(proxyCut) }

// BlackHole keeps connections open and takes new ones, but forwards nothing until
// Heal: neither side can tell by TCP. What was sent meanwhile arrives late, in
// order, as after a link that was down.
func (p *Proxy) BlackHole() { p.turn(proxyBlackHole) }

// Heal makes the network work again.
func (p *Proxy) Heal() { p.turn(proxyOpen) }

func (p *Proxy) close() {
	p.turn(proxyClosed)
	p.listener.Close()
	p.wg.Wait()
}

func (p *Proxy) turn(to proxyState) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state == to {
		return
	}
	if p.state == proxyBlackHole {
		close(p.healed)
	}
	p.state = to
	switch to {
	case proxyBlackHole:
		p.healed = make(chan struct{})
	case proxyCut, proxyClosed:
		for c := range p.conns {
			c.Close()
		}
	}
}

func (p *Proxy) accept() {
	for {
		c, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.wg.Go(func() { p.serve(c) })
	}
}

func (p *Proxy) serve(client net.Conn) {
	defer client.Close()
	if !p.track(client) {
		return
	}
	defer p.untrack(client)
	upstream, err := net.Dial("tcp", p.target)
	if err != nil {
		return
	}
	defer upstream.Close()
	if !p.track(upstream) {
		return
	}
	defer p.untrack(upstream)
	var both sync.WaitGroup
	both.Go(func() { p.pump(upstream, client) })
	both.Go(func() { p.pump(client, upstream) })
	both.Wait()
}

// pump copies one way and closes both when either ends.
func (p *Proxy) pump(dst, src net.Conn) {
	defer dst.Close()
	defer src.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := src.Read(buf)
		if n > 0 {
			<-p.passable()
			if _, err := dst.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (p *Proxy) passable() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.healed
}

// track refuses a connection while the network is cut.
func (p *Proxy) track(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state == proxyCut || p.state == proxyClosed {
		return false
	}
	p.conns[c] = struct{}{}
	return true
}

func (p *Proxy) untrack(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
}
