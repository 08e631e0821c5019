package intake

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/time/rate"

	"github.com/rescind/rescind/events"
)

// Rate is how often something may happen, such as 10/m. It may happen so often at
// once. The zero Rate stands for a default.
type Rate struct {
	n   int
	per time.Duration
}

// Unlimited is no bound at all.
var Unlimited = Rate{-1, 0}

var ratePeriods = map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour}

// ParseRate reads a number of times a second, minute or hour (100/s, 10/m, 3/h), or
// unlimited.
func ParseRate(s string) (Rate, error) {
	if s == "unlimited" {
		return Unlimited, nil
	}
	count, unit, _ := strings.Cut(s, "/")
	n, err := strconv.Atoi(count)
	per, ok := ratePeriods[unit]
	if err != nil || !ok || n < 1 || n > 1_000_000 {
		return Rate{}, fmt.Errorf("%q is not a rate such as 100/s, 10/m or 3/h, nor unlimited", s)
	}
	return Rate{n, per}, nil
}

// UnmarshalText is for rescind.yaml.
func (r *Rate) UnmarshalText(text []byte) (err error) {
	*r, err = ParseRate(string(text))
	return err
}

// String is the form that ParseRate reads, "" for the zero Rate.
func (r Rate) String() string {
	if r == Unlimited {
		return "unlimited"
	}
	for unit, per := range ratePeriods {
		if r.per == per {
			return strconv.Itoa(r.n) + "/" + unit
		}
	}
	return ""
}

// Limits bound how often one caller may revoke. What hits many is bound more tightly:
// a key that was stolen must not sign everybody out again and again.
type Limits struct {
	// Default is for all kinds of target together. Zero means 1000/s.
	Default Rate `yaml:"default"`
	// Realm is for realms, clients and claims. Zero means 10/m.
	Realm Rate `yaml:"realm"`
	// All is for everything at once. Zero means 3/m.
	All Rate `yaml:"all"`
}

// maxLimited is how many callers are kept in mind.
const maxLimited = 10_000

// class is what of a caller's has a limit of its own.
type class int

const (
	classDefault class = iota
	classRealm
	classAll
)

func classOf(kind events.Kind) class {
	switch {
	case kind == events.KindAll:
		return classAll
	case slices.Contains([]events.Kind{events.KindRealm, events.KindClient, events.KindClaim}, kind):
		return classRealm
	}
	return classDefault
}

// limiter keeps the limits. It is safe for concurrent use.
type limiter struct {
	rates [classAll + 1]Rate
	now   func() time.Time

	mu      sync.Mutex
	callers *lru.Cache[limited, *rate.Limiter]
}

type limited struct {
	caller string
	class  class
}

func newLimiter(l Limits, now func() time.Time) *limiter {
	callers, err := lru.New[limited, *rate.Limiter](maxLimited)
	if err != nil {
		panic("intake: " + err.Error()) // only for a size below one
	}
	set := func(r, byDefault Rate) Rate {
		if r == (Rate{}) {
			return byDefault
		}
		return r
	}
	return &limiter{now: now, callers: callers, rates: [...]Rate{
		classDefault: set(l.Default, Rate{1000, time.Second}), classRealm: set(l.Realm, Rate{10, time.Minute}), classAll: set(l.All, Rate{3, time.Minute})}}
}

// errLimited is what every rateError is.
var errLimited = errors.New("too many revocations")

// rateError says when there may be another.
type rateError struct {
	rate  Rate
	after time.Duration
}

func (e *rateError) Error() string {
	return fmt.Sprintf("%s: this caller may order %s of this kind", errLimited, e.rate)
}

// Is makes it an errLimited.
func (e *rateError) Is(target error) bool { return target == errLimited }

// seconds is for Retry-After.
func (e *rateError) seconds() string { return strconv.Itoa(int(math.Ceil(e.after.Seconds()))) }

// allow takes one of what the caller may, or says when it may again.
func (l *limiter) allow(c *Caller, kind events.Kind) error {
	now := l.now()
	var taken []*rate.Reservation
	for _, class := range slices.Compact([]class{classDefault, classOf(kind)}) {
		r := l.of(c.Name, class)
		if r == nil {
			continue
		}
		reserved := r.ReserveN(now, 1)
		if wait := reserved.DelayFrom(now); wait > 0 {
			for _, t := range append(taken, reserved) {
				t.CancelAt(now) // it is not taken after all
			}
			return &rateError{l.rates[class], wait}
		}
		taken = append(taken, reserved)
	}
	return nil
}

func (l *limiter) of(caller string, class class) *rate.Limiter {
	bound := l.rates[class]
	if bound == Unlimited {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	key := limited{caller, class}
	r, ok := l.callers.Get(key)
	if !ok {
		r = rate.NewLimiter(rate.Every(bound.per/time.Duration(bound.n)), bound.n)
		l.callers.Add(key, r)
	}
	return r
}
