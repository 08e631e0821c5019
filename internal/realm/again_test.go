package realm_test

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/rescind/rescind/internal/realm"
)

// accept verifies a token that must be good.
func (s *setup) accept(t *testing.T, raw string) *realm.Verified {
	t.Helper()
	v, err := s.Verify(t.Context(), raw)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestVerifyingAgainJudgesTimesAsVerifyDoes moves the clock both ways past every
// bound of a token, to the second.
func TestVerifyingAgainJudgesTimesAsVerifyDoes(t *testing.T) {
	k := edKey("k")
	start := newClock().Now().Unix()
	for name, changes := range map[string][]any{
		"plain":           nil,
		"no iat":          {"iat", nil},
		"nbf":             {"nbf", start - 100},
		"nbf, a fraction": {"nbf", float64(start) - 99.5},
		"longest life":    {"exp", start + 24*3600},
		"no iat, longest": {"iat", nil, "exp", start + 24*3600},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSetup(t, k)
			raw := k.sign(t, s.clock.claims(changes...))
			v := s.accept(t, raw)
			for _, at := range []int64{0, -1, -39, -40, -41, -60, -61, -160, -161, -3600, 3599, 3600, 3659, 3660, 24 * 3600,
				24*3600 + 59, 24*3600 + 60} {
				s.clock.Add(time.Unix(start+at, 0).Sub(s.clock.Now()))
				_, want := s.Verify(t.Context(), raw)
				if got := s.VerifyAgain(t.Context(), v); fmt.Sprint(got) != fmt.Sprint(want) {
					t.Errorf("%d s from the first time: %v, Verify says %v", at, got, want)
				}
			}
		})
	}
}

func TestVerifyingAgainEndsWithTheKeySet(t *testing.T) {
	a, b := edKey("a"), edKey("b")
	s := newSetup(t, a)
	raw := a.sign(t, s.clock.claims())
	v := s.accept(t, raw)
	s.clock.Add(15 * time.Minute)
	wantErr(t, "the same set once more", s.VerifyAgain(t.Context(), v), nil)
	if n := s.idp.asked("/keys"); n != 2 {
		t.Errorf("asked %d times, want 2: verifying again renews keys", n)
	}
	s.idp.serve("/keys", jwks(a, b))
	s.clock.Add(15 * time.Minute)
	wantErr(t, "a key more", s.VerifyAgain(t.Context(), v), realm.ErrKeysChanged)
	v = s.accept(t, raw)
	wantErr(t, "verified with the new set", s.VerifyAgain(t.Context(), v), nil)
	s.idp.serve("/keys", jwks(b))
	s.clock.Add(15 * time.Minute)
	wantErr(t, "its key is gone", s.VerifyAgain(t.Context(), v), realm.ErrKeysChanged)
	wantErr(t, "its key is gone", s.VerifyAgain(t.Context(), v), realm.ErrKeysChanged)
}

func TestVerifyingAgainRenewsKeysInTheBackground(t *testing.T) {
	a, b := edKey("a"), edKey("b")
	s := newSetup(t, a)
	v := s.accept(t, a.sign(t, s.clock.claims()))
	s.idp.serve("/keys", jwks(b))
	s.clock.Add(12 * time.Minute)
	wantErr(t, "the token that causes the renewal", s.VerifyAgain(t.Context(), v), nil)
	s.Idle()
	wantErr(t, "after the renewal", s.VerifyAgain(t.Context(), v), realm.ErrKeysChanged)
}

func TestVerifyingAgainOutlivesAnIssuerThatIsAway(t *testing.T) {
	k := edKey("k")
	s := newSetup(t, k)
	v := s.accept(t, k.sign(t, s.clock.claims()))
	s.idp.fail("/keys")
	s.clock.Add(30 * time.Minute)
	wantErr(t, "issuer away", s.VerifyAgain(t.Context(), v), nil)
}

func TestVerifyingAgainStopsWaitingWhenItsContextEnds(t *testing.T) {
	k := edKey("k")
	s := newSetup(t, k)
	v := s.accept(t, k.sign(t, s.clock.claims()))
	hang := make(chan struct{})
	defer close(hang)
	s.idp.handle("/keys", func(http.ResponseWriter) { <-hang })
	s.clock.Add(30 * time.Minute)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	wantErr(t, "context over", s.VerifyAgain(ctx, v), realm.ErrKeysUnavailable)
}

func TestVerifyingAgainAllocatesNothing(t *testing.T) {
	k := edKey("k")
	s := newSetup(t, k)
	v, ctx := s.accept(t, k.sign(t, s.clock.claims("nbf", s.clock.Now().Unix()))), t.Context()
	if n := testing.AllocsPerRun(100, func() { _ = s.VerifyAgain(ctx, v) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
