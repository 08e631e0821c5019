package transmit

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/rescind/rescind/events"
)

func TestStreamsAreWithinBounds(t *testing.T) {
	good := func(change func(*Stream)) *Stream {
		s := &Stream{Method: Poll, Status: Enabled}
		if change != nil {
			change(s)
		}
		return s
	}
	push := func(authorization string) *Stream {
		return good(func(s *Stream) {
			s.Method, s.Endpoint, s.Authorization = Push, "https://receiver.example", authorization
		})
	}
	for name, s := range map[string]*Stream{
		"nothing asked for": good(nil),
		"all that may be": good(func(s *Stream) {
			s.Requested = slices.Repeat([]string{strings.Repeat("u", maxURI)}, maxRequested)
			s.Description, s.Reason = strings.Repeat("d", maxDescription), strings.Repeat("r", maxReason)
			s.Status = Paused
		}),
		"pushed":               push(""),
		"pushed, with a token": push("Bearer " + strings.Repeat("x", maxAuthorization-7)),
	} {
		if err := s.validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, s := range map[string]*Stream{
		"no method":            good(func(s *Stream) { s.Method = "" }),
		"too many event types": good(func(s *Stream) { s.Requested = slices.Repeat([]string{"u"}, maxRequested+1) }),
		"an empty event type":  good(func(s *Stream) { s.Requested = []string{""} }),
		"a long event type":    good(func(s *Stream) { s.Requested = []string{strings.Repeat("u", maxURI+1)} }),
		"a long description":   good(func(s *Stream) { s.Description = strings.Repeat("d", maxDescription+1) }),
		"a long reason":        good(func(s *Stream) { s.Reason = strings.Repeat("r", maxReason+1) }),
		"another status":       good(func(s *Stream) { s.Status = "on" }),
		"endpoint of a poll":   good(func(s *Stream) { s.Endpoint = "https://receiver.example" }),
		"token of a poll":      good(func(s *Stream) { s.Authorization = "x" }),
		"a long token":         push(strings.Repeat("x", maxAuthorization+1)),
		"a header in a token":  push("Bearer x\r\nHost: other.example"),
		"a token not in ASCII": push("Bearer \u00e9"),
	} {
		if err := s.validate(); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: got %v, want ErrInvalid", name, err)
		}
	}
}

func TestStreamsAreSentWhatTheyAskedFor(t *testing.T) {
	user := events.Target{Kind: events.KindUser, Claim: "sub", Value: "jack"}
	in := func(realm string, target events.Target) *events.Revocation {
		target.Realm = realm
		return &events.Revocation{Target: target}
	}
	list, lift := events.Target{Kind: events.KindTokens}, events.Target{Kind: events.KindLift}
	for _, c := range []struct {
		name      string
		realms    []string
		requested []string
		r         *events.Revocation
		want      bool
	}{
		{"all realms", nil, nil, in("main", user), true},
		{"its realm", []string{"other", "main"}, nil, in("main", user), true},
		{"another realm", []string{"other"}, nil, in("main", user), false},
		{"what spans all", []string{"other"}, nil, in("", user), true},
		{"no realm", []string{}, nil, in("main", user), false},
		{"lists, unasked", nil, nil, in("main", list), false},
		{"lifts, unasked", nil, nil, in("", lift), false},
		{"lists", nil, []string{events.TypeTokensRevoked}, in("main", list), true},
		{"lists only", nil, []string{events.TypeTokensRevoked}, in("main", user), false},
		{"lifts", nil, []string{"https://other.example", events.TypeLifted}, in("", lift), true},
		{"nothing that is known", nil, []string{"https://other.example"}, in("main", user), false},
	} {
		s := &Stream{Realms: c.realms, Requested: c.requested}
		if got := s.wants(c.r); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
	s := &Stream{Requested: []string{"https://other.example", events.TypeLifted, events.TypeSessionRevoked}}
	if got := s.Delivered(); !slices.Equal(got, []string{events.TypeSessionRevoked, events.TypeLifted}) {
		t.Errorf("delivered: %v", got)
	}
}
