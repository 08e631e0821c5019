package events

import (
	"fmt"
	"regexp"
	"strings"
)

// DefaultFleet is the fleet that every program takes when none is named.
const DefaultFleet = Fleet("rescind")

// Fleet is the name of one deployment. It prefixes the fleet's subjects, names
// its streams in capitals, and is the audience (aud) of all that is signed.
// Several fleets can share one NATS account.
type Fleet string

var fleetName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,31}$`)

// Validate refuses a name that is not 1 to 32 of a-z, 0-9 and "-", beginning
// with a letter: anything else could not be part of a subject and a stream name.
func (f Fleet) Validate() error {
	if !fleetName.MatchString(string(f)) {
		return fmt.Errorf("fleet %q: must be 1 to 32 of a-z, 0-9 and -, beginning with a letter", string(f))
	}
	return nil
}

// Stream is one of the fleet's streams.
type Stream string

const (
	// Control carries rules, lifts and single tokens, so that a realm's
	// sign-out never waits behind a million tokens.
	Control Stream = "control"
	// Tokens carries lists of tokens.
	Tokens Stream = "tokens"
	// Audit sources the other two and takes receipts.
	Audit Stream = "audit"
	// Feeds sources the other two for receivers outside of the fleet, and takes what
	// is for one of them. It is there once there is a receiver.
	Feeds Stream = "feeds"
)

// EventStreams are the streams that agents follow, the one to read first first.
var EventStreams = []Stream{Control, Tokens}

// StreamName is the JetStream name of one of the fleet's streams, such as
// RESCIND_CONTROL.
func (f Fleet) StreamName(s Stream) string {
	return strings.ToUpper(strings.ReplaceAll(string(f), "-", "_")) + "_" + strings.ToUpper(string(s))
}

// EventSubject is where publishers publish a stream's events. Only JetStream
// listens there.
func (f Fleet) EventSubject(s Stream) string { return string(f) + ".events." + string(s) }

// LiveSubject is where the server republishes a stream's events once they are
// stored. "*" as the stream gives the pattern for all of them.
func (f Fleet) LiveSubject(s Stream) string { return string(f) + ".live." + string(s) }

// LiveStream tells which stream a live subject belongs to, and whether it is one.
func (f Fleet) LiveStream(subject string) (Stream, bool) {
	name, ok := strings.CutPrefix(subject, string(f)+".live.")
	s := Stream(name)
	return s, ok && (s == Control || s == Tokens)
}

// BeaconSubject is where publishers send beacons.
func (f Fleet) BeaconSubject() string { return string(f) + ".beacon" }

// ReportSubject is where the agent reports; "*" for all agents.
func (f Fleet) ReportSubject(agent string) string { return string(f) + ".report." + agent }

// StatusSubject is where the agent sends its status; "*" for all agents.
func (f Fleet) StatusSubject(agent string) string { return string(f) + ".status." + agent }

// AskSubject is where publishers ask one agent to repeat itself.
func (f Fleet) AskSubject(agent string) string { return string(f) + ".ask." + agent }

// AskAllSubject is where publishers ask every agent for a status.
func (f Fleet) AskAllSubject() string { return string(f) + ".ask" }

// QuerySubject is where publishers ask all agents what a target would hit.
func (f Fleet) QuerySubject() string { return string(f) + ".query" }

// AuditSubject is where publishers put what only the audit stream takes. The kinds
// are "receipt" and "refusal"; ">" is all of them.
func (f Fleet) AuditSubject(kind string) string { return string(f) + ".audit." + kind }

// FeedSubject is where publishers put what is for one receiver outside of the fleet.
func (f Fleet) FeedSubject(id string) string { return string(f) + ".feeds." + id }
