package intake_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rescind/rescind/internal/realm"
	"github.com/rescind/rescind/publisher/intake"
)

// poll makes the rig poll the transmitter until the test ends.
func (g *rig) poll(t *testing.T, tr *transmitter, token string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "token")
	must(t, os.WriteFile(file, []byte(token+"\n"), 0o600))
	s := g.receive(t, tr, func(c *intake.TransmitterConfig) { c.Poll = intake.PollConfig{URL: tr.URL + "/poll", TokenFile: file} })
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Poll(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
}

func TestPolledEventsAreDoneAndAcknowledged(t *testing.T) {
	g := newRig(t)
	tr := newTransmitter(t)
	var tokens []string
	for i := range 20 {
		user := fmt.Sprintf("user%d", i)
		tokens = append(tokens, g.token(t, realm.TokenRequest{User: user}))
		tr.put(user, tr.set(t, user, "jti", user))
	}
	// What is wrong is told once; what an answer of the transmitter is lost for comes
	// again, and is done once.
	tr.put("bad", tr.set(t, "jack", "jti", "bad", "aud", "https://other.example"))
	tr.put("other name", tr.set(t, "jack"))
	tr.fail = 1
	before := g.published(t)
	g.poll(t, tr, "secret of the stream")
	eventually(t, func() bool { return tr.left() == 0 })
	for i, raw := range tokens {
		if !g.refused(t, raw) {
			t.Errorf("the token of user %d is not refused", i)
		}
	}
	if n := g.published(t) - before; n != 20 {
		t.Errorf("%d events were published", n)
	}
	refused := map[string]string{}
	for i, asked := range tr.polls() {
		if asked.authorization != "Bearer secret of the stream" || asked.MaxEvents != 100 || (len(asked.Errors) > 0) != (asked.language == "en") {
			t.Errorf("poll %d: %+v", i, asked)
		}
		for jti, e := range asked.Errors {
			refused[jti] = e["err"]
		}
	}
	if fmt.Sprint(refused) != "map[bad:invalid_audience other name:invalid_request]" {
		t.Errorf("refused: %v", refused)
	}
	if r := g.wantRefusal(t, `ssf_poll invalid_audience ""  "" ""`); r.Remote != "127.0.0.1" {
		t.Errorf("recorded: %+v", r)
	}
}

// What cannot be done now is neither acknowledged nor refused.
func TestPolledEventsStayWhileTheBusIsAway(t *testing.T) {
	g := newRig(t)
	tr := newTransmitter(t)
	raw := g.token(t, realm.TokenRequest{User: "jack"})
	g.poll(t, tr, "x")
	eventually(t, func() bool { return len(tr.polls()) > 0 })
	g.nats.Stop(t)
	tr.put("1", tr.set(t, "jack", "jti", "1"))
	seen := len(tr.polls())
	eventually(t, func() bool { return len(tr.polls()) > seen+1 })
	if tr.left() != 1 {
		t.Error("an event that was not done is gone")
	}
	g.nats.Start(t)
	eventually(t, func() bool { return tr.left() == 0 && g.refused(t, raw) })
}

// An issuer that a transmitter speaks for is its own: by the stream of one, nobody
// brings in the events of another.
func TestPolledEventsAreTheTransmittersOwn(t *testing.T) {
	g := newRig(t)
	polled, other := newTransmitter(t), newTransmitter(t)
	raw := g.token(t, realm.TokenRequest{User: "jack"})
	all, err := intake.OpenTransmitters([]intake.TransmitterConfig{
		{Issuer: polled.issuer(), Realm: "partner", Audience: []string{receiverAud}, Poll: intake.PollConfig{URL: polled.URL + "/poll"}},
		{Issuer: other.issuer(), Realm: "demo", Audience: []string{receiverAud}}}, g.realms, realm.Options{})
	must(t, err)
	t.Cleanup(all.Close)
	s, err := intake.New(intake.Config{Publisher: g.pub, Authenticator: g.auth, Realms: g.realms, Transmitters: all})
	must(t, err)
	polled.put("1", other.set(t, "jack", "jti", "1"))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Poll(ctx)
	}()
	eventually(t, func() bool { return polled.left() == 0 })
	cancel()
	<-done
	code := ""
	for _, asked := range polled.polls() {
		if e, ok := asked.Errors["1"]; ok {
			code = e["err"]
		}
	}
	if code != "invalid_issuer" || g.refused(t, raw) {
		t.Errorf("refused with %q; the token is refused: %v", code, g.refused(t, raw))
	}
}
