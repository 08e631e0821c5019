package intake

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"
)

func newTestPasswords(t *testing.T, now func() time.Time) *passwords {
	t.Helper()
	h, err := bcrypt.GenerateFromPassword([]byte("right"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	p, err := newPasswords([]UserConfig{{Name: "alice", Bcrypt: string(h)}}, now)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestOnlyAcceptedPasswordsAreRememberedAndNotForLong(t *testing.T) {
	now := time.Unix(1_795_302_000, 0)
	p := newTestPasswords(t, func() time.Time { return now })
	for _, tc := range []struct{ name, password string }{{"alice", "wrong"}, {"bob", "right"}, {"bob", ""}} {
		if _, err := p.check(t.Context(), tc.name, tc.password); !errors.Is(err, ErrBadCredentials) {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
	decoy, err := bcrypt.GenerateFromPassword([]byte("decoy"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	p.decoy = string(decoy)
	if u, err := p.check(t.Context(), "bob", "decoy"); !errors.Is(err, ErrBadCredentials) {
		t.Errorf("the decoy's password lets in %q: %v", u.Name, err)
	}
	if n := len(p.accepted); n != 0 {
		t.Fatalf("%d refused passwords are remembered", n)
	}
	if _, err := p.check(t.Context(), "alice", "right"); err != nil {
		t.Fatal(err)
	}
	// From here on only memory can accept it.
	u := p.users["alice"]
	u.Bcrypt = p.decoy
	p.users["alice"] = u
	now = now.Add(rememberFor - time.Second)
	if _, err := p.check(t.Context(), "alice", "right"); err != nil {
		t.Errorf("a remembered password: %v", err)
	}
	now = now.Add(time.Second)
	if _, err := p.check(t.Context(), "alice", "right"); !errors.Is(err, ErrBadCredentials) {
		t.Errorf("after %v: %v", rememberFor, err)
	}
}

func TestMemoryOfPasswordsIsBounded(t *testing.T) {
	p := newTestPasswords(t, nil)
	for i := range 3 * maxRemembered {
		p.accept(p.hash(UserConfig{Name: "alice"}, fmt.Sprint(i)))
		if n := len(p.accepted); n > maxRemembered {
			t.Fatalf("%d passwords are remembered, want at most %d", n, maxRemembered)
		}
	}
}

func TestRememberedPasswordsOfTwoUsersDoNotRunTogether(t *testing.T) {
	p := newTestPasswords(t, nil)
	if p.hash(UserConfig{Name: "a"}, "b c") == p.hash(UserConfig{Name: "a b"}, "c") {
		t.Error("two users' passwords have the same hash")
	}
	if p.hash(UserConfig{Name: "a"}, "b") == newTestPasswords(t, nil).hash(UserConfig{Name: "a"}, "b") {
		t.Error("two processes have the same hash")
	}
}

func TestUnknownUserCostsAsMuchAsTheDearestKnownOne(t *testing.T) {
	cheap, err := bcrypt.GenerateFromPassword([]byte("x"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	dear, err := bcrypt.GenerateFromPassword([]byte("x"), bcrypt.MinCost+2)
	if err != nil {
		t.Fatal(err)
	}
	p, err := newPasswords([]UserConfig{{Name: "a", Bcrypt: string(dear)}, {Name: "b", Bcrypt: string(cheap)}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if cost, err := bcrypt.Cost([]byte(p.decoy)); err != nil || cost != bcrypt.MinCost+2 {
		t.Errorf("cost %d, %v", cost, err)
	}
}
