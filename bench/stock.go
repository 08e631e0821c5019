package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/denylist"
)

// issuer is the iss of all tokens of the bench.
const issuer = "https://idp.example.com/realms/main"

// cutoff is when the revoked users were revoked, in Unix seconds.
var cutoff = time.Now().Unix()

// named is how many of the stock's identities are those of tokens that can be
// made; the others are as random and cheaper to make.
const named = 100_000

func jti(i int) string  { return fmt.Sprintf("0192f3c4-7a1b-7000-8000-%012d", i) }
func user(i int) string { return fmt.Sprintf("user-%08d", i) }
func identity(i int) (id events.Identity) {
	if i < named {
		return events.JTIIdentity(issuer, jti(i))
	}
	for part := range 4 {
		binary.LittleEndian.PutUint64(id[8*part:], mix(uint64(i*4+part+1)))
	}
	return id
}

// mix is splitmix64's: each input has its own output, without a pattern.
func mix(x uint64) uint64 {
	x *= 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// stock is what a set is filled with.
type stock struct {
	// identities are listed in events of perEvent each; users are revoked in an
	// event each.
	identities, users, perEvent int
}

// perEvent is how many identities a full list has.
const perEvent = 1000

// dir gives a directory for an agent with a denylist that holds the stock. It
// is filled once and used by several rows; who writes into it copies it.
func (c *Config) stocked(s stock) (string, error) {
	dir := filepath.Join(c.Dir, fmt.Sprintf("stock-%d-%d-%d", s.identities, s.users, s.perEvent))
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	begun := time.Now()
	if err := s.fill(filepath.Join(dir, "denylist.db")); err != nil {
		return "", fmt.Errorf("filling a denylist: %w", err)
	}
	c.logf("  filled a denylist with %s tokens and %s users in %.1f s", count(s.identities), count(s.users), time.Since(begun).Seconds())
	return dir, nil
}

// perCommit bounds what is staged at once, in events.
const perCommit = 1000

func (s stock) fill(path string) error {
	set, err := denylist.Open(denylist.Options{Path: path, Fleet: events.DefaultFleet})
	if err != nil {
		return err
	}
	total := (s.identities+s.perEvent-1)/s.perEvent + s.users
	for first := 0; first < total || first == 0; first += perCommit {
		change := denylist.Change{Synced: true}
		for n := first; n < min(first+perCommit, total); n++ {
			change.Records = append(change.Records, s.record(n))
		}
		set.Stage(change)
		if _, err := set.Commit(); err != nil {
			_ = set.Close()
			return err
		}
	}
	return set.Close()
}

// record is the n-th event of the stock.
func (s stock) record(n int) denylist.Record {
	r := denylist.Record{KeyID: "bench", Seq: uint64(n + 1), NotBefore: cutoff, Expires: cutoff + 48*3600}
	binary.BigEndian.PutUint64(r.ID[8:], uint64(n+1))
	r.ID[6], r.ID[8] = 0x70, 0x80 // a UUIDv7
	if u := n - (s.identities+s.perEvent-1)/s.perEvent; u >= 0 {
		r.Stream = events.Control
		r.Target = events.Target{Kind: events.KindUser, Claim: "sub", Value: user(u), Issuers: []string{issuer}}
		return r
	}
	r.Stream = events.Tokens
	r.Target = events.Target{Kind: events.KindTokens, Identities: make([]events.Identity, 0, s.perEvent)}
	for i := n * s.perEvent; i < min((n+1)*s.perEvent, s.identities); i++ {
		r.Target.Identities = append(r.Target.Identities, identity(i))
	}
	return r
}
