package bustest

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/bus"
)

// patience is how long the package waits for anything before it fails the test.
const patience = 20 * time.Second

// Server is a nats-server with a file store that is synced at every write. It
// keeps its port and its store over stops and starts.
type Server struct {
	opts server.Options
	srv  *server.Server
	url  string
}

// Option changes the server's options before it starts.
type Option func(*server.Options)

// Unsynced leaves out the sync at every write, for benchmarks that fill a stream
// first and measure something else.
func Unsynced(o *server.Options) { o.SyncAlways = false }

// WithUser adds a user with a password who may do everything but publish and
// subscribe to the denied subjects. Clients that name no user stay free.
func WithUser(name, password string, denied ...string) Option {
	return func(o *server.Options) {
		const free = "anyone"
		deny := &server.SubjectPermission{Deny: denied}
		o.NoAuthUser = free
		o.Users = append(o.Users, &server.User{Username: free, Password: password},
			&server.User{Username: name, Password: password, Permissions: &server.Permissions{Publish: deny, Subscribe: deny}})
	}
}

// Start starts a server on a free loopback port and stops it when the test ends.
func Start(t testing.TB, options ...Option) *Server {
	t.Helper()
	s := &Server{opts: server.Options{
		ServerName: "bustest", Host: "127.0.0.1", Port: server.RANDOM_PORT,
		NoSigs: true, NoLog: true, JetStream: true, StoreDir: t.TempDir(), SyncAlways: true,
	}}
	for _, o := range options {
		o(&s.opts)
	}
	t.Cleanup(func() {
		if s.srv != nil {
			s.Stop(t)
		}
	})
	s.Start(t)
	return s
}

// Start starts a stopped server again, on the same port and store.
func (s *Server) Start(t testing.TB) {
	t.Helper()
	if s.srv != nil {
		t.Fatal("bustest: the server is running")
	}
	opts := s.opts // the server changes what it is given
	srv, err := server.NewServer(&opts)
	if err != nil {
		t.Fatalf("bustest: making server: %v", err)
	}
	srv.Start()
	if !srv.ReadyForConnections(patience) {
		srv.Shutdown()
		t.Fatal("bustest: the server did not become ready; is its port taken?")
	}
	s.srv, s.url = srv, srv.ClientURL()
	s.opts.Port = srv.Addr().(*net.TCPAddr).Port
}

// Stop stops the server as an operator would and waits until it has.
func (s *Server) Stop(t testing.TB) {
	t.Helper()
	if s.srv == nil {
		t.Fatal("bustest: the server is stopped")
	}
	s.srv.Shutdown()
	s.srv.WaitForShutdown()
	s.srv = nil
}

// Kill stops the server as kill -9 would: the store is left as it is on disk at
// this moment, without what an orderly stop writes.
func (s *Server) Kill(t testing.TB) {
	t.Helper()
	now := s.copyStore(t)
	s.Stop(t)
	s.putStore(t, now)
}

// Snapshot gives a copy of the store, for RollBack. The server is restarted.
func (s *Server) Snapshot(t testing.TB) string {
	t.Helper()
	s.Stop(t)
	dir := s.copyStore(t)
	s.Start(t)
	return dir
}

// RollBack puts a snapshot back, as restoring a disk would: what was stored since
// is gone, epochs stay. The server is restarted.
func (s *Server) RollBack(t testing.TB, snapshot string) {
	t.Helper()
	s.Stop(t)
	s.putStore(t, snapshot)
	s.Start(t)
}

// URL is what clients connect to; it stays over stops and starts.
func (s *Server) URL() string { return s.url }

// Connect connects a client that reconnects quickly and for ever. It is closed
// when the test ends.
func (s *Server) Connect(t testing.TB, options ...nats.Option) *nats.Conn {
	t.Helper()
	return Connect(t, s.url, options...)
}

// Connect is Server.Connect to any URL, such as a Proxy's.
func Connect(t testing.TB, url string, options ...nats.Option) *nats.Conn {
	t.Helper()
	options = append([]nats.Option{nats.MaxReconnects(-1), nats.ReconnectWait(10 * time.Millisecond),
		nats.ReconnectJitter(0, 0)}, options...)
	nc, err := nats.Connect(url, options...)
	if err != nil {
		t.Fatalf("bustest: connecting: %v", err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// Bus gives a bus on a connection of its own. The fleet's streams are there, with
// a tokens stream of 64 MiB.
func (s *Server) Bus(t testing.TB, fleet events.Fleet) *bus.Bus {
	t.Helper()
	b, err := bus.New(s.Connect(t), fleet)
	if err != nil {
		t.Fatalf("bustest: %v", err)
	}
	s.apply(t, b)
	return b
}

func (s *Server) apply(t testing.TB, b *bus.Bus) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := b.Apply(ctx, bus.Settings{TokensMaxBytes: 64 << 20}); err != nil {
		t.Fatalf("bustest: %v", err)
	}
}

// copyStore copies the store of a server that goes on writing. Where a file is gone
// before it was copied (the server writes some beside their place, and renames
// them), what was copied is the store of no moment, and it is copied anew.
func (s *Server) copyStore(t testing.TB) string {
	t.Helper()
	root := t.TempDir()
	for n := range 100 {
		dir := filepath.Join(root, strconv.Itoa(n))
		err := os.CopyFS(dir, os.DirFS(s.opts.StoreDir))
		if err == nil {
			return dir
		}
		if !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("bustest: copying store: %v", err)
		}
	}
	t.Fatal("bustest: the store does not stand still for long enough to copy it")
	return ""
}

// putStore replaces the store of the stopped server.
func (s *Server) putStore(t testing.TB, dir string) {
	t.Helper()
	if err := os.RemoveAll(s.opts.StoreDir); err != nil {
		t.Fatalf("bustest: removing store: %v", err)
	}
	if err := os.CopyFS(s.opts.StoreDir, os.DirFS(dir)); err != nil {
		t.Fatalf("bustest: restoring store: %v", err)
	}
}

// Eventually waits until ok holds and fails the test if it does not within a
// generous time.
func Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v in vain: %s", patience, what)
		}
		time.Sleep(time.Millisecond)
	}
}
