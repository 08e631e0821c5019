package guard_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/realm"
	"github.com/rescind/rescind/subscriber"
	"github.com/rescind/rescind/subscriber/guard"
	"github.com/rescind/rescind/subscriber/internal/guardtest"
)

func newLive(t *testing.T, agent guard.Watched) *guard.Live {
	t.Helper()
	l := guard.NewLive(agent)
	t.Cleanup(l.Close)
	return l
}

func wantEnd(t *testing.T, name string, ctx context.Context, want error) {
	t.Helper()
	guardtest.Within(t, name, ctx.Done())
	if err := context.Cause(ctx); !errors.Is(err, want) {
		t.Errorf("%s ends with %v, want %v", name, err, want)
	}
}

// What is open ends for each kind of revocation, and nothing else does.
func TestLiveEndsWhatIsRevoked(t *testing.T) {
	f := guardtest.Start(t)
	l := newLive(t, f.Fresh(t))
	open := func(req realm.TokenRequest) (context.Context, string) {
		raw := f.Token(t, req)
		ctx, cancel := l.Open(t.Context(), guardtest.Parse(t, raw))
		t.Cleanup(cancel)
		return ctx, raw
	}
	anonymous, cancel := l.Open(t.Context(), nil)
	defer cancel()
	other, _ := open(realm.TokenRequest{User: "jill", Session: "s2"})
	token, raw := open(realm.TokenRequest{User: "jack"})
	user, _ := open(realm.TokenRequest{User: "jim"})
	elsewhere, _ := open(realm.TokenRequest{User: "jim", Realm: "partner"})
	session, _ := open(realm.TokenRequest{User: "joe", Session: "s1"})

	f.RevokeToken(t, raw)
	wantEnd(t, "the token's", token, subscriber.ErrRevoked)
	demo, _ := f.Realms.Get("demo")
	f.Revoke(t, demo.UserTarget("jim"))
	wantEnd(t, "the user's", user, subscriber.ErrRevoked)
	f.Revoke(t, demo.SessionTarget("s1"))
	wantEnd(t, "the session's", session, subscriber.ErrRevoked)
	for name, ctx := range map[string]context.Context{"another's": other, "the same name's in another realm": elsewhere, "an anonymous one's": anonymous} {
		if ctx.Err() != nil {
			t.Errorf("%s ends too: %v", name, context.Cause(ctx))
		}
	}
	if n := l.Len(); n != 3 {
		t.Errorf("%d are open", n)
	}
	f.Revoke(t, events.Target{Kind: events.KindAll})
	wantEnd(t, "another's", other, subscriber.ErrRevoked)
	wantEnd(t, "another realm's", elsewhere, subscriber.ErrRevoked)
	if anonymous.Err() != nil {
		t.Error("an anonymous one ends")
	}
}

// A token that is revoked between its check and Open is not held open.
func TestLiveDoesNotOpenWhatIsRevoked(t *testing.T) {
	f := guardtest.Start(t)
	agent := f.Fresh(t)
	l := newLive(t, agent)
	raw := f.Token(t, realm.TokenRequest{User: "jack"})
	watch := agent.Watch()
	defer watch.Close()
	f.RevokeToken(t, raw)
	guardtest.Within(t, "the revocation", watch.C)
	ctx, cancel := l.Open(t.Context(), guardtest.Parse(t, raw))
	defer cancel()
	if err := context.Cause(ctx); !errors.Is(err, subscriber.ErrRevoked) || l.Len() != 0 {
		t.Errorf("got %v, %d are open", err, l.Len())
	}
}

// What ends by itself is forgotten, and does not look like a revocation.
func TestLiveForgetsWhatHasEnded(t *testing.T) {
	f := guardtest.Start(t)
	agent := f.Fresh(t)
	l := guard.NewLive(agent)
	tok := guardtest.Parse(t, f.Token(t, realm.TokenRequest{User: "jack"}))
	ctx, cancel := l.Open(t.Context(), tok)
	cancel()
	cancel()
	if !errors.Is(context.Cause(ctx), context.Canceled) || l.Len() != 0 {
		t.Errorf("%v, %d are open", context.Cause(ctx), l.Len())
	}
	ctx, cancel = l.Open(t.Context(), tok)
	defer cancel()
	l.Close()
	l.Close()
	wantEnd(t, "what is open at the end", ctx, subscriber.ErrClosed)
	ctx, cancel = l.Open(t.Context(), tok)
	defer cancel()
	wantEnd(t, "what comes after it", ctx, subscriber.ErrClosed)

	l = newLive(t, agent)
	ctx, cancel = l.Open(t.Context(), tok)
	defer cancel()
	if err := agent.Close(); err != nil {
		t.Fatal(err)
	}
	wantEnd(t, "what is open when the agent is closed", ctx, subscriber.ErrClosed)
}

// A stream of server-sent events, and another user's, to a real client.
func TestServerSentEventsAreCut(t *testing.T) {
	f := guardtest.Start(t)
	agent := f.Fresh(t)
	live := newLive(t, agent)
	more := make(chan string)
	stream := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for {
			fmt.Fprint(w, "data: tick\n\n")
			if http.NewResponseController(w).Flush() != nil {
				return
			}
			select {
			case <-r.Context().Done():
				return
			case <-more:
			}
		}
	})
	srv := httptest.NewServer(guard.Middleware(agent, f.Verify)(live.Handler(stream)))
	t.Cleanup(srv.Close)
	listen := func(user string) *bufio.Reader {
		req, err := http.NewRequestWithContext(t.Context(), "GET", srv.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+f.Token(t, realm.TokenRequest{User: user}))
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { res.Body.Close() })
		in := bufio.NewReader(res.Body)
		if line, err := in.ReadString('\n'); line != "data: tick\n" {
			t.Fatalf("got %q, %v", line, err)
		}
		return in
	}
	jack, jackEnds := listen("jack"), make(chan error, 1)
	jill := listen("jill")
	go func() {
		_, err := io.Copy(io.Discard, jack)
		jackEnds <- err
	}()
	f.RevokeUser(t, "jack")
	if err := guardtest.Within(t, "the end of jack's stream", jackEnds); err != nil {
		t.Errorf("it ends with %v", err)
	}
	guardtest.Within(t, "jill's stream takes more", func() <-chan struct{} {
		c := make(chan struct{}, 1)
		go func() { more <- ""; c <- struct{}{} }()
		return c
	}())
	if line, err := jill.ReadString('k'); !strings.HasSuffix(line, "data: tick") {
		t.Errorf("jill's stream has ended: %q, %v", line, err)
	}
}

// A websocket, and another user's, to a real client: it is told why.
func TestWebsocketsAreCut(t *testing.T) {
	f := guardtest.Start(t)
	agent := f.Fresh(t)
	live := newLive(t, agent)
	srv := httptest.NewServer(guard.Middleware(agent, f.Verify)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		serveWebsocket(live, w, r)
	})))
	t.Cleanup(srv.Close)
	dial := func(user string) *websocket.Conn {
		c, res, err := websocket.Dial(t.Context(), srv.URL, &websocket.DialOptions{HTTPHeader: http.Header{
			"Authorization": {"Bearer " + f.Token(t, realm.TokenRequest{User: user})}}})
		if err != nil {
			t.Fatalf("%v: %v", res, err)
		}
		t.Cleanup(func() { _ = c.CloseNow() })
		return c
	}
	echo := func(c *websocket.Conn) error {
		if err := c.Write(t.Context(), websocket.MessageText, []byte("hello")); err != nil {
			return err
		}
		_, b, err := c.Read(t.Context())
		if err == nil && string(b) != "hello" {
			err = fmt.Errorf("echoes %q", b)
		}
		return err
	}
	jack, jill := dial("jack"), dial("jill")
	if err := errors.Join(echo(jack), echo(jill)); err != nil {
		t.Fatal(err)
	}
	end := make(chan error, 1)
	go func() {
		_, _, err := jack.Read(t.Context())
		end <- err
	}()
	f.RevokeUser(t, "jack")
	if err := guardtest.Within(t, "the end of jack's websocket", end); websocket.CloseStatus(err) != websocket.StatusPolicyViolation || !strings.Contains(err.Error(), "revoked") {
		t.Errorf("it ends with %v", err)
	}
	if err := echo(jill); err != nil {
		t.Errorf("jill's websocket has ended: %v", err)
	}
	_, res, err := websocket.Dial(t.Context(), srv.URL, &websocket.DialOptions{HTTPHeader: http.Header{
		"Authorization": {"Bearer " + f.Token(t, realm.TokenRequest{User: "jack"})}}})
	if err == nil || res == nil || res.StatusCode != http.StatusUnauthorized {
		t.Errorf("a revoked token opens another: %v, %v", res, err)
	}
}

// serveWebsocket echoes, for as long as the token is not revoked.
func serveWebsocket(live *guard.Live, w http.ResponseWriter, r *http.Request) {
	c, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer c.CloseNow()
	ctx, cancel := live.Open(r.Context(), guard.Token(r.Context()))
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = c.Close(websocket.StatusPolicyViolation, context.Cause(ctx).Error()) })()
	for {
		kind, b, err := c.Read(context.WithoutCancel(ctx)) // Close tells the client why
		if err != nil {
			return
		}
		if err := c.Write(ctx, kind, b); err != nil {
			return
		}
	}
}
