package bus_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/bus"
	"github.com/rescind/rescind/internal/bus/bustest"
)

var allStreams = []events.Stream{events.Control, events.Tokens, events.Audit}

func TestApplyTwiceChangesNothing(t *testing.T) {
	_, b := start(t)
	for _, s := range allStreams {
		was, wasInfo := configOf(t, b, s), info(t, b, s)
		if err := b.Apply(t.Context(), bus.Settings{}); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(was, configOf(t, b, s)); diff != "" {
			t.Errorf("%s: configuration changed: %s", s, diff)
		}
		if diff := cmp.Diff(wasInfo, info(t, b, s)); diff != "" {
			t.Errorf("%s: state changed: %s", s, diff)
		}
	}
	if err := b.Verify(t.Context(), bus.Settings{}); err != nil {
		t.Error(err)
	}
}

func TestApplyFromManyProgramsAtOnceMakesOneEpoch(t *testing.T) {
	s := bustest.Start(t)
	var wg sync.WaitGroup
	for range 8 {
		b, err := bus.New(s.Connect(t), fleet)
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			if err := b.Apply(t.Context(), bus.Settings{}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestNewStreamHasAnEpochAndStartsAtTheClock(t *testing.T) {
	before := uint64(time.Now().UnixMicro())
	_, b := start(t)
	for _, s := range allStreams {
		i := info(t, b, s)
		if id, err := uuid.Parse(i.Epoch); err != nil || id.Version() != 7 {
			t.Errorf("%s: epoch is %q, want a UUIDv7", s, i.Epoch)
		}
		if i.First < before || i.First != i.Last+1 || i.Msgs != 0 {
			t.Errorf("%s: empty stream is %d to %d with %d, want First beyond %d and Last before it",
				s, i.First, i.Last, i.Msgs, before)
		}
	}
}

func TestRemadeStreamHasANewEpochBeyondTheFormer(t *testing.T) {
	srv, b := start(t)
	for _, s := range events.EventStreams {
		publish(t, b, s, 3)
		was := info(t, b, s)
		srv.Remake(t, fleet, s)
		is := info(t, b, s)
		if is.Epoch == was.Epoch || is.First <= was.Last {
			t.Errorf("%s: was %+v, is %+v, want another epoch and later sequences", s, was, is)
		}
	}
}

func TestStateSurvivesRestartsEvenOfAnEmptyStream(t *testing.T) {
	srv, b := start(t)
	publish(t, b, events.Tokens, 3)
	was := []bus.Info{info(t, b, events.Control), info(t, b, events.Tokens)}
	srv.Stop(t)
	srv.Start(t)
	srv.Kill(t)
	srv.Start(t)
	is := []bus.Info{info(t, b, events.Control), info(t, b, events.Tokens)}
	if diff := cmp.Diff(was, is); diff != "" {
		t.Error(diff)
	}
}

func TestApplyStrengthensAndNeverWeakens(t *testing.T) {
	_, b := start(t)
	strong := bus.Settings{MaxAge: 60 * 24 * time.Hour, TokensMaxBytes: 128 << 20, AuditMaxAge: 365 * 24 * time.Hour}
	for _, s := range []bus.Settings{strong, {}, {MaxAge: time.Hour, TokensMaxBytes: 1 << 20, AuditMaxAge: time.Hour}} {
		if err := b.Apply(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		if err := b.Verify(t.Context(), strong); err != nil {
			t.Errorf("after applying %+v: %v", s, err)
		}
	}
	if err := b.Verify(t.Context(), bus.Settings{MaxAge: 61 * 24 * time.Hour}); !errors.Is(err, bus.ErrWeakStream) {
		t.Errorf("a longer age is wanted than the stream keeps: got %v", err)
	}
}

func TestApplyRefusesNegativeSettings(t *testing.T) {
	_, b := start(t)
	for _, s := range []bus.Settings{{MaxAge: -1}, {TokensMaxBytes: -1}, {AuditMaxAge: -1}, {Replicas: -1}, {Replicas: 6}} {
		if err := b.Apply(t.Context(), s); !errors.Is(err, bus.ErrRefused) {
			t.Errorf("%+v: got %v, want ErrRefused", s, err)
		}
	}
}

func TestApplySaysWhatToDoWithoutSpace(t *testing.T) {
	srv := bustest.Start(t, func(o *server.Options) { o.JetStreamMaxStore = 1 << 20 })
	b, err := bus.New(srv.Connect(t), fleet)
	if err != nil {
		t.Fatal(err)
	}
	err = b.Apply(t.Context(), bus.Settings{})
	if err == nil || !strings.Contains(err.Error(), "RESCIND_TOKENS") || !strings.Contains(err.Error(), "lower") {
		t.Errorf("got %v", err)
	}
}

func TestVerifySaysHowToMakeMissingStreams(t *testing.T) {
	srv, b := start(t)
	srv.Delete(t, fleet, events.Tokens)
	err := b.Verify(t.Context(), bus.Settings{})
	if !errors.Is(err, bus.ErrNoStream) || !strings.Contains(err.Error(), "RESCIND_TOKENS; run: rescind streams apply") ||
		strings.Contains(err.Error(), "RESCIND_CONTROL") {
		t.Errorf("got %v", err)
	}
	if _, err := b.Info(t.Context(), events.Tokens); !errors.Is(err, bus.ErrNoStream) {
		t.Errorf("Info: got %v, want ErrNoStream", err)
	}
}

func TestVerifyOfAStoppedServerIsUnavailable(t *testing.T) {
	srv, b := start(t)
	srv.Stop(t)
	bustest.Eventually(t, "the client notices", func() bool { return !b.Conn().IsConnected() })
	if err := b.Verify(t.Context(), bus.Settings{}); !errors.Is(err, bus.ErrUnavailable) {
		t.Errorf("got %v, want ErrUnavailable", err)
	}
	_, err := b.Info(within(t, 2*time.Second), events.Control)
	if !errors.Is(err, bus.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Info: got %v, want ErrUnavailable at once", err)
	}
}

func TestEmptyStreamMadeByHandBeginsAtOne(t *testing.T) {
	srv, b := start(t)
	c := configOf(t, b, events.Control)
	c.FirstSeq = 0
	srv.Delete(t, fleet, events.Control)
	if _, err := jet(t, b).CreateStream(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if i := info(t, b, events.Control); i.First != 1 || i.Last != 0 {
		t.Errorf("got %d to %d, want 1 to 0", i.First, i.Last)
	}
}

// oldServer speaks just enough of the protocol to be connected to.
func oldServer(t *testing.T, version string) (url string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(func() { l.Close(); wg.Wait() })
	wg.Go(func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		fmt.Fprintf(c, "INFO {\"server_id\":\"x\",\"version\":%q,\"headers\":true,\"max_payload\":1000}\r\n", version)
		for lines := bufio.NewScanner(c); lines.Scan(); {
			if lines.Text() == "PING" {
				fmt.Fprint(c, "PONG\r\n")
			}
		}
	})
	return "nats://" + l.Addr().String()
}

func TestVerifyRefusesAnOldServer(t *testing.T) {
	b, err := bus.New(bustest.Connect(t, oldServer(t, "2.14.5")), fleet)
	if err != nil {
		t.Fatal(err)
	}
	err = b.Verify(within(t, 100*time.Millisecond), bus.Settings{})
	if !errors.Is(err, bus.ErrServerTooOld) || !strings.Contains(err.Error(), "2.14.5") {
		t.Errorf("got %v, want ErrServerTooOld", err)
	}
}

type weakness struct {
	property string
	stream   events.Stream
	weaken   func(*jetstream.StreamConfig)
	// lasting is set for what the server does not let anyone change back.
	lasting bool
}

func weaknesses(f events.Fleet) []weakness {
	return []weakness{
		{"subjects", events.Control, func(c *jetstream.StreamConfig) { c.Subjects = append(c.Subjects, string(f)+".more") }, false},
		{"storage", events.Control, func(c *jetstream.StreamConfig) { c.Storage = jetstream.MemoryStorage }, true},
		{"retention", events.Control, func(c *jetstream.StreamConfig) { c.Retention = jetstream.InterestPolicy }, false},
		{"discard", events.Tokens, func(c *jetstream.StreamConfig) { c.Discard = jetstream.DiscardOld }, false},
		{"discard_new_per_subject", events.Control, func(c *jetstream.StreamConfig) {
			c.DiscardNewPerSubject, c.MaxMsgsPerSubject = true, 5
		}, false},
		{"deny_delete", events.Control, func(c *jetstream.StreamConfig) { c.DenyDelete = false }, false},
		{"deny_purge", events.Audit, func(c *jetstream.StreamConfig) { c.DenyPurge = false }, false},
		{"allow_atomic", events.Audit, func(c *jetstream.StreamConfig) { c.AllowAtomicPublish = false }, false},
		{"allow_direct", events.Tokens, func(c *jetstream.StreamConfig) { c.AllowDirect = false }, false},
		{"allow_rollup_hdrs", events.Control, func(c *jetstream.StreamConfig) { c.AllowRollup, c.DenyPurge = true, false }, false},
		{"allow_msg_ttl", events.Control, func(c *jetstream.StreamConfig) { c.AllowMsgTTL = true }, true},
		{"no_ack", events.Control, func(c *jetstream.StreamConfig) { c.NoAck = true }, false},
		{"persist_mode", events.Control, func(c *jetstream.StreamConfig) { c.PersistMode = jetstream.AsyncPersistMode }, true},
		{"max_msgs", events.Control, func(c *jetstream.StreamConfig) { c.MaxMsgs = 9 }, false},
		{"max_msgs_per_subject", events.Control, func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = 1 }, false},
		{"max_msg_size", events.Audit, func(c *jetstream.StreamConfig) { c.MaxMsgSize = 1000 }, false},
		{"max_age", events.Tokens, func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour }, false},
		{"max_bytes", events.Tokens, func(c *jetstream.StreamConfig) { c.MaxBytes = -1 }, false},
		{"max_bytes", events.Control, func(c *jetstream.StreamConfig) { c.MaxBytes = 1 << 20 }, false},
		{"duplicate_window", events.Control, func(c *jetstream.StreamConfig) { c.Duplicates = time.Second }, false},
		{"republish", events.Tokens, func(c *jetstream.StreamConfig) { c.RePublish = nil }, false},
		{"republish", events.Control, func(c *jetstream.StreamConfig) { c.RePublish.HeadersOnly = true }, false},
		{"sources", events.Audit, func(c *jetstream.StreamConfig) { c.Sources = c.Sources[:1] }, false},
		{"sources", events.Audit, func(c *jetstream.StreamConfig) { c.Sources[0].FilterSubject = "other" }, false},
		{"sources", events.Audit, func(c *jetstream.StreamConfig) { c.Sources[1].OptStartSeq = 0 }, false},
		{"mirror", events.Control, func(c *jetstream.StreamConfig) {
			c.Mirror = &jetstream.StreamSource{Name: f.StreamName(events.Tokens)}
			c.Subjects, c.RePublish, c.FirstSeq = nil, nil, 0
		}, false},
		{"subject_transform", events.Control, func(c *jetstream.StreamConfig) {
			c.SubjectTransform = &jetstream.SubjectTransformConfig{Source: f.EventSubject(events.Control), Destination: "other"}
		}, false},
		{"metadata.rescind.epoch", events.Control, func(c *jetstream.StreamConfig) { c.Metadata = nil }, false},
	}
}

func TestWeakStreamsAreRefusedByNameAndMended(t *testing.T) {
	srv := bustest.Start(t)
	for i := range weaknesses(fleet) {
		f := events.Fleet(fmt.Sprintf("f%d", i))
		w := weaknesses(f)[i]
		t.Run(fmt.Sprintf("%s of %s", w.property, w.stream), func(t *testing.T) {
			b := srv.Bus(t, f)
			weak := configOf(t, b, w.stream)
			w.weaken(&weak)
			srv.Delete(t, f, w.stream)
			if _, err := jet(t, b).CreateStream(t.Context(), weak); err != nil {
				t.Fatal(err)
			}
			err := b.Verify(t.Context(), bus.Settings{})
			if !errors.Is(err, bus.ErrWeakStream) || !strings.Contains(err.Error(), f.StreamName(w.stream)+": "+w.property+" is ") {
				t.Errorf("got %v, want ErrWeakStream with stream and property", err)
			}
			mended := b.Apply(t.Context(), bus.Settings{TokensMaxBytes: 1 << 20})
			after := b.Verify(t.Context(), bus.Settings{})
			if !w.lasting && (mended != nil || after != nil) {
				t.Errorf("not mended: %v, then %v", mended, after)
			}
			if w.lasting && (mended == nil || after == nil) {
				t.Errorf("applying says %v and verifying %v, though this cannot be changed", mended, after)
			}
		})
	}
}

func TestSealedStreamIsRefused(t *testing.T) {
	_, b := start(t)
	c := configOf(t, b, events.Control)
	c.Sealed = true
	if _, err := jet(t, b).UpdateStream(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if err := b.Verify(t.Context(), bus.Settings{}); err == nil || !strings.Contains(err.Error(), "sealed is true, must be false") {
		t.Errorf("got %v", err)
	}
}

func TestTooFewReplicasAreRefused(t *testing.T) {
	_, b := start(t)
	err := b.Verify(t.Context(), bus.Settings{Replicas: 3})
	if !errors.Is(err, bus.ErrWeakStream) || !strings.Contains(err.Error(), "num_replicas is 1, must be 3") {
		t.Errorf("got %v", err)
	}
}

func TestNewRefusesWhatItCannotUse(t *testing.T) {
	_, b := start(t)
	if _, err := bus.New(nil, fleet); err == nil {
		t.Error("no connection: no error")
	}
	if _, err := bus.New(b.Conn(), "Bad.Fleet"); err == nil {
		t.Error("invalid fleet: no error")
	}
}
