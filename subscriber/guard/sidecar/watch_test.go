package sidecar_test

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/bus/bustest"
	"github.com/rescind/rescind/subscriber/guard/sidecar"
	"github.com/rescind/rescind/subscriber/internal/guardtest"
)

// watch opens a stream and gives what it says, block by block; the channel is
// closed when the stream ends.
func (s *site) watch() <-chan string {
	s.t.Helper()
	ctx, cancel := context.WithCancel(s.t.Context())
	r, err := http.NewRequestWithContext(ctx, "GET", s.url+"/v1/watch", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	if res.StatusCode != 200 || res.Header.Get("Content-Type") != "text/event-stream" {
		s.t.Fatalf("got %d %s", res.StatusCode, res.Header.Get("Content-Type"))
	}
	blocks := make(chan string, 16)
	var reader sync.WaitGroup
	reader.Go(func() {
		defer close(blocks)
		defer res.Body.Close()
		var block strings.Builder
		for lines := bufio.NewScanner(res.Body); lines.Scan(); {
			if lines.Text() != "" {
				block.WriteString(lines.Text() + "\n")
				continue
			}
			select {
			case blocks <- block.String():
			case <-ctx.Done():
				return
			}
			block.Reset()
		}
	})
	s.t.Cleanup(func() {
		cancel()
		reader.Wait()
	})
	return blocks
}

func next(t *testing.T, blocks <-chan string) string {
	t.Helper()
	select {
	case b, open := <-blocks:
		if !open {
			return "end"
		}
		return b
	case <-time.After(20 * time.Second):
		t.Fatal("nothing came")
		return ""
	}
}

func TestWatchTellsOfEachRevocation(t *testing.T) {
	s := start(t)
	blocks := s.watch()
	if got := next(t, blocks); got != ": watching\n" {
		t.Fatalf("got %q", got)
	}
	user := s.RevokeUser(t, `a"nn`)
	wantUser := fmt.Sprintf("event: revocation\nid: %s\ndata: "+
		`{"id":%q,"kind":"user","target":"user \"a\\\"nn\" in realm demo","not_before":%d}`+"\n", user.ID, user.ID, user.NotBefore)
	if diff := cmp.Diff(wantUser, next(t, blocks)); diff != "" {
		t.Error(diff)
	}
	token := s.Revoke(t, events.Target{Kind: events.KindToken, Identities: []events.Identity{events.OpaqueIdentity("secret")}})
	wantToken := "event: revocation\nid: " + token.ID.String() + "\ndata: {\"id\":\"" + token.ID.String() +
		"\",\"kind\":\"token\",\"target\":\"token\"}\n"
	if diff := cmp.Diff(wantToken, next(t, blocks)); diff != "" {
		t.Error(diff)
	}
}

func TestWatchBeatsAndEndsWithTheAgent(t *testing.T) {
	f := guardtest.Start(t)
	s := serve(t, f, f.Fresh(t), func(c *sidecar.Config) { *c = c.WithHeartbeat(time.Millisecond) })
	blocks := s.watch()
	next(t, blocks)
	for range 3 {
		if got := next(t, blocks); got != ": heartbeat\n" {
			t.Errorf("got %q", got)
		}
	}
	if err := s.agent.Close(); err != nil {
		t.Fatal(err)
	}
	bustest.Eventually(t, "the stream ends", func() bool { return next(t, blocks) == "end" })
}

func TestWatchIsNotHeldOpenForItsHeaders(t *testing.T) {
	s := start(t)
	if got := s.do("HEAD", "/v1/watch", ""); got.Status != 200 || got.Header.Get("Content-Type") != "text/event-stream" {
		t.Errorf("got %d %v", got.Status, got.Header)
	}
}

// slow is a reader that takes nothing until it is let go.
type slow struct {
	*httptest.ResponseRecorder
	mu     sync.Mutex
	writes chan struct{}
	letGo  chan struct{}
}

func (s *slow) Write(b []byte) (int, error) {
	select {
	case s.writes <- struct{}{}:
	default:
	}
	<-s.letGo
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ResponseRecorder.Write(b)
}

func (s *slow) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.Body.String()
}

func TestSlowWatcherIsToldThatItMissedSomething(t *testing.T) {
	f := guardtest.Start(t)
	agent := f.Fresh(t)
	h, err := sidecar.New(sidecar.Config{Agent: agent})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	w := &slow{ResponseRecorder: httptest.NewRecorder(), writes: make(chan struct{}, 1), letGo: make(chan struct{})}
	var served sync.WaitGroup
	served.Go(func() { h.ServeHTTP(w, httptest.NewRequestWithContext(ctx, "GET", "/v1/watch", nil)) })
	t.Cleanup(func() {
		cancel()
		served.Wait()
	})
	<-w.writes
	const n = 1100 // more than an agent keeps for one watcher
	f.RevokeMany(t, n)
	bustest.Eventually(t, "all are in force", func() bool { return agent.Status().Entries == n })
	close(w.letGo)
	bustest.Eventually(t, "the watcher is told", func() bool { return strings.Contains(w.text(), "event: dropped\ndata: {}\n\n") })
	if strings.Count(w.text(), "event: dropped") != 1 {
		t.Error("it is told more than once")
	}
}
