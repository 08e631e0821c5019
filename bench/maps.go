package main

import (
	"sync"

	"github.com/bits-and-blooms/bloom/v3"
	"github.com/rescind/rescind/events"
)

// revokedUsers gives each revoked user with the cutoff.
func revokedUsers(n int) map[string]int64 {
	users := make(map[string]int64, n)
	for i := range n {
		users[user(i)] = cutoff
	}
	return users
}

// mapRWMutex is what is written first: two maps under a lock.
func mapRWMutex(s stock) contestant {
	var mu sync.RWMutex
	identities := map[events.Identity]struct{}{}
	for i := range s.identities {
		identities[identity(i)] = struct{}{}
	}
	users := revokedUsers(s.users)
	check := func(q *query) bool {
		mu.RLock()
		defer mu.RUnlock()
		if _, ok := identities[q.tok.Identity]; ok {
			return true
		}
		notBefore, ok := users[q.sub]
		return ok && q.tok.IssuedAt <= notBefore
	}
	return judge("map_rwmutex", check)
}

func syncMap(s stock) contestant {
	var identities, users sync.Map
	for i := range s.identities {
		identities.Store(identity(i), struct{}{})
	}
	for i := range s.users {
		users.Store(user(i), cutoff)
	}
	check := func(q *query) bool {
		if _, ok := identities.Load(q.tok.Identity); ok {
			return true
		}
		notBefore, ok := users.Load(q.sub)
		return ok && q.tok.IssuedAt <= notBefore.(int64)
	}
	return judge("sync_map", check)
}

// falsePositives is the rate at which the Bloom filter refuses tokens that
// nobody revoked.
const falsePositives = 1e-7

// bloomFilter has the identities in a filter. Cutoffs do not fit into one: users
// are in a map. Nothing locks, as if the filter were never written to.
func bloomFilter(s stock) contestant {
	filter := bloom.NewWithEstimates(uint(max(s.identities, 1)), falsePositives)
	for i := range s.identities {
		id := identity(i)
		filter.Add(id[:])
	}
	users := revokedUsers(s.users)
	check := func(q *query) bool {
		if filter.Test(q.tok.Identity[:]) {
			return true
		}
		notBefore, ok := users[q.sub]
		return ok && q.tok.IssuedAt <= notBefore
	}
	c := judge("bloom", check)
	c.judges = false // it may be wrong
	return c
}

// judge makes a contestant of a function that is safe for concurrent use.
func judge(name string, check func(*query) bool) contestant {
	return contestant{name: name, judges: true, worker: func() func([]query) int {
		return func(block []query) (revoked int) {
			for i := range block {
				if check(&block[i]) {
					revoked++
				}
			}
			return revoked
		}
	}}
}
