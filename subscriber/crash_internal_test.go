package subscriber

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/bus/bustest"
)

// crashing is what a child process is told: an agent that kills itself, as kill -9
// does, when it reaches a step for the n-th time.
type crashing struct {
	URL, Dir, Keys, Step string
	N                    int
}

const crashVariable = "RESCIND_TEST_CRASH"

func TestMain(m *testing.M) {
	if spec := os.Getenv(crashVariable); spec != "" {
		crashAt(spec)
	}
	os.Exit(m.Run())
}

// crashAt runs the agent of a child process until it kills itself.
func crashAt(spec string) {
	var c crashing
	err := json.Unmarshal([]byte(spec), &c)
	if err == nil {
		err = c.run()
	}
	fmt.Fprintln(os.Stderr, "the agent did not crash:", err)
	os.Exit(1)
}

func (c *crashing) run() error {
	nc, err := nats.Connect(c.URL)
	if err != nil {
		return err
	}
	reached := 0
	a, err := Open(context.Background(), nc, Config{Service: "crash", Dir: c.Dir, Keys: KeysFile(c.Keys), step: func(step string) {
		if step != c.Step {
			return
		}
		if reached++; reached == c.N {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}})
	if err != nil {
		return err
	}
	<-time.After(30 * time.Second) // the crash comes before
	return a.Close()
}

// TestKillAtEachStepLosesNothing: an agent is killed between visible, durable and
// reported; started again on its directory it refuses all that was published, and
// reports it.
func TestKillAtEachStepLosesNothing(t *testing.T) {
	for _, step := range []string{"visible", "durable", "reported"} {
		for n := 1; n <= 3; n++ {
			t.Run(fmt.Sprintf("%s %d", step, n), func(t *testing.T) { killAt(t, step, n) })
		}
	}
}

func killAt(t *testing.T, step string, n int) {
	srv := bustest.Start(t)
	b := srv.Bus(t, events.DefaultFleet)
	signer, err := events.NewSigner("p1")
	if err != nil {
		t.Fatal(err)
	}
	keys := t.TempDir() + "/keys.jwks"
	jwks, err := json.Marshal(events.NewKeySet(signer.Public()))
	if err == nil {
		err = os.WriteFile(keys, jwks, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	spec, err := json.Marshal(crashing{srv.URL(), t.TempDir(), keys, step, n})
	if err != nil {
		t.Fatal(err)
	}
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), crashVariable+"="+string(spec))
	child.Stderr = os.Stderr
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	var tokens []*events.Token
	crashed := make(chan error, 1)
	go func() { crashed <- child.Wait() }()
	for done := false; !done; {
		select {
		case err := <-crashed:
			if child.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
				t.Fatalf("the child ended with %v, not by its kill", err)
			}
			done = true
		default:
			tok := &events.Token{Identity: events.OpaqueIdentity(fmt.Sprint(len(tokens)))}
			r := &events.Revocation{ID: events.NewEventID(), Txn: events.NewEventID(), Issuer: "http://p", Fleet: events.DefaultFleet,
				IssuedAt: time.Now().Unix(), Expires: time.Now().Unix() + 3600, Initiator: events.ByAdmin,
				Target: events.Target{Kind: events.KindToken, Identities: []events.Identity{tok.Identity}},
				Origin: events.Origin{Publisher: "p1", Incarnation: events.EventID{1}, Counter: uint64(len(tokens) + 1)}}
			raw, err := signer.Sign(r)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := b.Publish(t.Context(), events.Control, r.ID.String(), raw); err != nil {
				t.Fatal(err)
			}
			tokens = append(tokens, tok)
		}
	}
	var c crashing
	if err := json.Unmarshal(spec, &c); err != nil {
		t.Fatal(err)
	}
	a, err := Open(t.Context(), srv.Connect(t), Config{Service: "crash", Dir: c.Dir, Keys: KeysFile(keys)})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if why := a.Recovered(); why != "" {
		t.Errorf("the file was damaged by the crash: %s", why)
	}
	for i, tok := range tokens {
		bustest.Eventually(t, fmt.Sprintf("token %d of %d is refused", i, len(tokens)), func() bool { return a.Check(tok) == ErrRevoked })
	}
	bustest.Eventually(t, "the position is reported as durable", func() bool {
		return a.Status().Positions[events.Control].Seq != 0 && a.set.Len() == len(tokens)
	})
}
