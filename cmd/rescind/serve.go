package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// httpServer is a listener with a handler. Listening is apart from serving, so
// that a taken port is an error before anything else starts.
type httpServer struct {
	name     string
	listener net.Listener
	tls      *tls.Config // nil for plain HTTP
	srv      *http.Server
}

// listen opens host:port or unix:/path.
func listen(name, address string, secure *tls.Config) (*httpServer, error) {
	l, err := openListener(address)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return &httpServer{name: name, listener: l, tls: secure}, nil
}

func openListener(address string) (net.Listener, error) {
	path, ok := strings.CutPrefix(address, "unix:")
	if !ok {
		return net.Listen("tcp", address)
	}
	if err := removeDeadSocket(path); err != nil {
		return nil, err
	}
	return net.Listen("unix", path)
}

// streamTime is how long requests may go on after the process was told to stop,
// before those that are still open are cut.
const streamTime = 500 * time.Millisecond

// removeDeadSocket removes a socket that nobody listens on any more.
func removeDeadSocket(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode()&fs.ModeSocket == 0 {
		return fmt.Errorf("%s exists and is not a socket", path)
	}
	if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
		c.Close()
		return fmt.Errorf("%s: another process listens there", path)
	}
	return os.Remove(path)
}

// url is where the server can be reached.
func (s *httpServer) url() string {
	address := addressOf(s.listener)
	switch {
	case strings.HasPrefix(address, "unix:"):
		return address
	case s.tls != nil:
		return "https://" + address
	default:
		return "http://" + address
	}
}

// addressOf is host:port or unix:/path, as flags take it.
func addressOf(l net.Listener) string {
	if l.Addr().Network() == "unix" {
		return "unix:" + l.Addr().String()
	}
	return l.Addr().String()
}

// serve answers requests until ctx ends, and then finishes those under way.
func (s *httpServer) serve(ctx context.Context, h http.Handler, log *slog.Logger) error {
	// Streams of events never end by themselves: they are cut when the other
	// requests have had their time.
	base, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	s.srv = &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, IdleTimeout: 2 * time.Minute,
		BaseContext:    func(net.Listener) context.Context { return base },
		MaxHeaderBytes: 64 << 10, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug)}
	done := make(chan error, 1)
	go func() {
		if s.tls == nil {
			done <- s.srv.Serve(s.listener)
			return
		}
		s.srv.TLSConfig = s.tls.Clone() // up serves two listeners with it, and each changes its own
		done <- s.srv.ServeTLS(s.listener, "", "")
	}()
	select {
	case err := <-done:
		return fmt.Errorf("%s: %w", s.name, err)
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTime)
	defer cancel()
	defer time.AfterFunc(streamTime, cut).Stop()
	err := s.srv.Shutdown(stop)
	if served := <-done; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}

// announce says on standard output where a server is: one line, or one JSON
// object of the pairs.
func (g *globals) announce(line string, pairs ...string) error {
	if !g.JSON {
		_, err := fmt.Fprintln(g.std.out, line)
		return err
	}
	object := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		object[pairs[i]] = pairs[i+1]
	}
	return json.NewEncoder(g.std.out).Encode(object)
}

// connect connects to NATS for a process that outlives outages: it goes on when
// NATS is not there yet, and reconnects for ever.
func (g *globals) connect(log *slog.Logger, name string, opts ...nats.Option) (*nats.Conn, error) {
	opts = append([]nats.Option{
		nats.Name(name), nats.MaxReconnects(-1), nats.RetryOnFailedConnect(true),
		nats.ReconnectWait(250 * time.Millisecond), nats.ReconnectJitter(250*time.Millisecond, time.Second),
		// What was published while NATS was away is kept in the ledger and in the
		// agents' positions, not in a buffer of unknown fate.
		nats.ReconnectBufSize(-1),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil { // nil is our own Close
				log.Warn("disconnected from NATS", "err", err)
			}
		}),
		nats.ReconnectHandler(func(c *nats.Conn) { log.Info("connected to NATS again", "url", c.ConnectedUrlRedacted()) }),
		nats.ErrorHandler(func(_ *nats.Conn, s *nats.Subscription, err error) {
			if s != nil {
				log.Warn("NATS", "subject", s.Subject, "err", err)
				return
			}
			log.Warn("NATS", "err", err)
		}),
	}, opts...)
	reach, err := g.natsOptions()
	if err != nil {
		return nil, err
	}
	nc, err := nats.Connect(g.Nats, append(opts, reach...)...)
	if err != nil {
		return nil, fmt.Errorf("connecting to NATS: %w", err)
	}
	if !nc.IsConnected() {
		log.Warn("NATS is not there yet: trying on")
	}
	return nc, nil
}
