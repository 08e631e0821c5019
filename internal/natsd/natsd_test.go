package natsd_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/bus"
	"github.com/rescind/rescind/internal/natsd"
)

func start(t *testing.T, c natsd.Config) *natsd.Server {
	t.Helper()
	if c.Dir == "" {
		c.Dir = t.TempDir()
	}
	if c.Listen == "" {
		c.Listen = "127.0.0.1:0"
	}
	s, err := natsd.Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func connect(t *testing.T, url string, opts ...nats.Option) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(url, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

func newBus(t *testing.T, nc *nats.Conn) *bus.Bus {
	t.Helper()
	b, err := bus.New(nc, events.DefaultFleet)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestStreamsOutliveTheServer(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "by", "it")
	s := start(t, natsd.Config{Dir: dir})
	b := newBus(t, connect(t, s.ClientURL()))
	if err := b.Apply(t.Context(), bus.Settings{TokensMaxBytes: 1 << 20}); err != nil {
		t.Fatal(err)
	}
	ack, err := b.Publish(t.Context(), events.Control, "", []byte("kept"))
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	s.Close()
	s = start(t, natsd.Config{Dir: dir})
	b = newBus(t, connect(t, s.ClientURL()))
	if m, err := b.Get(t.Context(), events.Control, ack.Seq); err != nil || string(m.Data) != "kept" {
		t.Errorf("got %+v, %v", m, err)
	}
	if fi, err := os.Stat(dir); err != nil || fi.Mode().Perm() != 0o700 {
		t.Errorf("store directory: %v, %v, want mode 0700", fi.Mode(), err)
	}
}

func TestInProcessConnectionNeedsNoPort(t *testing.T) {
	s := start(t, natsd.Config{})
	b := newBus(t, connect(t, "", nats.InProcessServer(s)))
	if err := b.Apply(t.Context(), bus.Settings{TokensMaxBytes: 1 << 20}); err != nil {
		t.Error(err)
	}
}

func TestEveryWriteIsSynced(t *testing.T) {
	s := start(t, natsd.Config{MonitorListen: "127.0.0.1:0"})
	resp, err := http.Get(s.MonitorURL() + "/jsz")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var jsz struct {
		Config struct {
			SyncAlways bool `json:"sync_always"`
		} `json:"config"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&jsz); err != nil || !jsz.Config.SyncAlways {
		t.Errorf("sync_always is %v, %v, want true", jsz.Config.SyncAlways, err)
	}
}

func TestNoMonitorUnlessAsked(t *testing.T) {
	if got := start(t, natsd.Config{}).MonitorURL(); got != "" {
		t.Errorf("got %q", got)
	}
}

func TestTakenPortIsAClearError(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	addr := l.Addr().String()
	for name, c := range map[string]natsd.Config{
		"clients": {Dir: t.TempDir(), Listen: addr},
		"monitor": {Dir: t.TempDir(), Listen: "127.0.0.1:0", MonitorListen: addr},
	} {
		if _, err := natsd.Start(t.Context(), c); err == nil || !strings.Contains(err.Error(), "address already in use") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestUnusableDirectoryIsAClearError(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	inside := t.TempDir()
	if err := os.WriteFile(filepath.Join(inside, "jetstream"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{file, filepath.Join(file, "below"), inside} {
		if _, err := natsd.Start(t.Context(), natsd.Config{Dir: dir, Listen: "127.0.0.1:0"}); err == nil {
			t.Errorf("%s: no error", dir)
		} else if !strings.Contains(err.Error(), "director") {
			t.Errorf("%s: got %v, want a word on the directory", dir, err)
		}
	}
}

func TestBadConfigIsRefusedByField(t *testing.T) {
	dir := t.TempDir()
	for want, c := range map[string]natsd.Config{
		"Dir":           {},
		"Listen":        {Dir: dir, Listen: "nonsense"},
		"port":          {Dir: dir, Listen: "127.0.0.1:70000"},
		"MonitorListen": {Dir: dir, Listen: "127.0.0.1:0", MonitorListen: "x"},
		"Password":      {Dir: dir, Username: "u"},
		"Username":      {Dir: dir, Password: "p"},
		"Token":         {Dir: dir, Username: "u", Password: "p", Token: "t"},
	} {
		if _, err := natsd.Start(t.Context(), c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: got %v, want a word on %s", c, err, want)
		}
	}
}

func TestStartEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("why")
	cancel(why)
	if _, err := natsd.Start(ctx, natsd.Config{Dir: t.TempDir(), Listen: "127.0.0.1:0"}); !errors.Is(err, why) {
		t.Errorf("got %v, want the context's cause", err)
	}
}

func TestCredentialsAreAskedFor(t *testing.T) {
	for _, c := range []struct {
		config natsd.Config
		good   nats.Option
	}{
		{natsd.Config{Username: "u", Password: "p"}, nats.UserInfo("u", "p")},
		{natsd.Config{Token: "t"}, nats.Token("t")},
	} {
		s := start(t, c.config)
		if _, err := nats.Connect(s.ClientURL()); !errors.Is(err, nats.ErrAuthorization) {
			t.Errorf("without credentials: got %v, want ErrAuthorization", err)
		}
		connect(t, s.ClientURL(), c.good)
		connect(t, "", nats.InProcessServer(s), c.good)
	}
}

type safeBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func TestLogHasNoPayloadAndNoSecret(t *testing.T) {
	var out safeBuffer
	log := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s := start(t, natsd.Config{Logger: log, Token: "canary-token"})
	nc := connect(t, s.ClientURL(), nats.Token("canary-token"))
	if err := nc.Publish("x", []byte("canary-payload")); err != nil {
		t.Fatal(err)
	}
	if err := nc.FlushTimeout(20 * time.Second); err != nil {
		t.Fatal(err)
	}
	nc.Close()
	s.Close()
	if got := out.String(); strings.Contains(got, "canary") || !strings.Contains(got, "level=DEBUG") ||
		!strings.Contains(got, "component=nats-server") {
		t.Errorf("log is %s", got)
	}
}

func TestOpenServerBeyondLoopbackIsWarnedOf(t *testing.T) {
	for want, c := range map[bool]natsd.Config{
		true:  {Listen: "0.0.0.0:0"},
		false: {Listen: "0.0.0.0:0", Token: "t"},
	} {
		var out safeBuffer
		c.Logger = slog.New(slog.NewTextHandler(&out, nil))
		start(t, c).Close()
		if got := strings.Contains(out.String(), "takes anyone"); got != want {
			t.Errorf("%+v: warned %v, want %v", c, got, want)
		}
	}
}
