package events

import (
	"encoding/binary"
	"errors"
	"fmt"
	"regexp"
)

// MaxReportedTokens is how many tokens one report names for one event; beyond it
// the counts stand alone and are marked AtLeast.
const MaxReportedTokens = 65536

// Agent says who reports.
type Agent struct {
	// ID is stable for as long as the agent's directory lives.
	ID string `json:"id"`
	// Service and Instance name it for people; together they are unique.
	Service  string `json:"service"`
	Instance string `json:"instance"`
	// Run is new at each start.
	Run string `json:"run"`
	// Version is the program's.
	Version string `json:"version"`
}

func (a *Agent) member(name []byte, v value) error {
	switch string(name) {
	case "id":
		return readText(v, &a.ID)
	case "service":
		return readText(v, &a.Service)
	case "instance":
		return readText(v, &a.Instance)
	case "run":
		return readText(v, &a.Run)
	case "version":
		return readText(v, &a.Version)
	}
	return nil
}

// Name is service/instance.
func (a Agent) Name() string { return a.Service + "/" + a.Instance }

var (
	agentID   = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
	agentName = regexp.MustCompile(`^[A-Za-z0-9._:@-]{1,128}$`)
)

// Validate refuses an agent whose id could not be part of a subject or whose
// names could not be told apart in a list.
func (a Agent) Validate() error {
	if !agentID.MatchString(a.ID) || !agentID.MatchString(a.Run) {
		return errors.New("agent id and run must be 1 to 64 of letters, digits, _ and -")
	}
	if !agentName.MatchString(a.Service) || !agentName.MatchString(a.Instance) {
		return fmt.Errorf("service %q, instance %q: must be 1 to 128 of letters, digits and ._:@-", a.Service, a.Instance)
	}
	if len(a.Version) > 64 {
		return errors.New("agent version is too long")
	}
	return nil
}

// Position is how far an agent has applied a stream, durably: everything up to
// Seq of Epoch is in its set and, where it has one, on its disk.
type Position struct {
	Epoch string `json:"epoch"`
	Seq   uint64 `json:"seq"`
}

func (p *Position) member(name []byte, v value) error {
	switch string(name) {
	case "epoch":
		return readText(v, &p.Epoch)
	case "seq":
		return readUint(v, &p.Seq)
	}
	return nil
}

// TokenHash names a live token in reports: 64 bits of its Identity. It is
// unkeyed, so that a token which several agents have seen is counted once.
type TokenHash uint64

// Hash is the token's name in reports.
func (id Identity) Hash() TokenHash { return TokenHash(binary.BigEndian.Uint64(id[:8])) }

// TokenHashes is a list that travels as base64url of 8 bytes each.
type TokenHashes []TokenHash

// MarshalText packs the list.
func (h TokenHashes) MarshalText() ([]byte, error) {
	b := make([]byte, 0, 8*len(h))
	for _, v := range h {
		b = binary.BigEndian.AppendUint64(b, uint64(v))
	}
	return appendEncoded(nil, b), nil
}

// UnmarshalText unpacks at most MaxReportedTokens.
func (h *TokenHashes) UnmarshalText(text []byte) error {
	b, err := appendDecoded(nil, text)
	if err != nil || len(b)%8 != 0 || len(b) > 8*MaxReportedTokens {
		return errors.New("token hashes: not base64url of 8-byte names")
	}
	out := make(TokenHashes, 0, len(b)/8)
	for ; len(b) > 0; b = b[8:] {
		out = append(out, TokenHash(binary.BigEndian.Uint64(b)))
	}
	*h = out
	return nil
}

// Counted is what an agent found when it applied a rule: which of the live
// tokens it has seen the rule hits.
type Counted struct {
	Event EventID `json:"event"`
	// Invalidated were accepted before, Previously were refused already.
	Invalidated TokenHashes `json:"invalidated,omitempty"`
	Previously  TokenHashes `json:"previously,omitempty"`
	// InvalidatedCount and PreviouslyCount are the numbers; with AtLeast they
	// exceed the lists, or the agent has forgotten tokens that it had seen.
	InvalidatedCount int  `json:"invalidated_count,omitempty"`
	PreviouslyCount  int  `json:"previously_count,omitempty"`
	AtLeast          bool `json:"at_least,omitempty"`
	// Replay marks an event that the agent had applied in an earlier life, and
	// for which it cannot count again.
	Replay bool `json:"replay,omitempty"`
}

func (c *Counted) member(name []byte, v value) error {
	switch string(name) {
	case "event":
		return readEncoded(v, &c.Event)
	case "invalidated":
		return readEncoded(v, &c.Invalidated)
	case "previously":
		return readEncoded(v, &c.Previously)
	case "invalidated_count":
		return readInt(v, &c.InvalidatedCount)
	case "previously_count":
		return readInt(v, &c.PreviouslyCount)
	case "at_least":
		return readBool(v, &c.AtLeast)
	case "replay":
		return readBool(v, &c.Replay)
	}
	return nil
}

// validate refuses counts that would take away from those of other agents.
func (c *Counted) validate() error {
	if c.InvalidatedCount < 0 || c.PreviouslyCount < 0 {
		return errors.New("a count is negative")
	}
	return nil
}

// Fault is something that an agent could not take from the bus, or a failure of
// its own.
type Fault struct {
	// Type is one of Reason's names, or disk.
	Type string `json:"type"`
	// Stream and Seq say where, when it was read from a stream; Live tells that
	// it came in on the live subject, which anyone allowed to publish there can
	// write to.
	Stream Stream `json:"stream,omitempty"`
	Seq    uint64 `json:"seq,omitempty"`
	Live   bool   `json:"live,omitempty"`
	Detail string `json:"detail,omitempty"`
}

func (f *Fault) member(name []byte, v value) error {
	switch string(name) {
	case "type":
		return readText(v, &f.Type)
	case "stream":
		return readText(v, &f.Stream)
	case "seq":
		return readUint(v, &f.Seq)
	case "live":
		return readBool(v, &f.Live)
	case "detail":
		return readText(v, &f.Detail)
	}
	return nil
}

// Report is an agent's evidence of what it enforces: sent after the disk has it,
// numbered without gaps within a run, coalesced when much happens.
type Report struct {
	Agent  Agent  `json:"agent"`
	Number uint64 `json:"number"`
	// Positions are there unless more reports follow at once: they come after the
	// counts of all that they stand for.
	Positions map[Stream]Position `json:"positions,omitempty"`
	Counted   []Counted           `json:"counted,omitempty"`
	Faults    []Fault             `json:"faults,omitempty"`
}

func (r *Report) member(name []byte, v value) error {
	switch string(name) {
	case "agent":
		return readObject(v, &r.Agent)
	case "number":
		return readUint(v, &r.Number)
	case "positions":
		return readMap(v, &r.Positions, readBody)
	case "counted":
		return readList(v, &r.Counted, readBody)
	case "faults":
		return readList(v, &r.Faults, readBody)
	}
	return nil
}

// State is an agent's own word on what it knows.
type State string

// The states of an agent.
const (
	// Unsynced: it has never held a complete set. Check answers ErrNotReady.
	Unsynced State = "unsynced"
	// Rebuilding: its file was lost or damaged and it reads everything again.
	// Check answers ErrNotReady.
	Rebuilding State = "rebuilding"
	// Syncing: it hears beacons and is still reading what it missed.
	Syncing State = "syncing"
	// Fresh: it holds everything that was acknowledged up to the bound ago.
	Fresh State = "fresh"
	// Stale: it has not heard a beacon within the bound, or a stream lacks events.
	Stale State = "stale"
	// Untrusted: it keeps events that it cannot read, any of which may be a
	// revocation.
	Untrusted State = "untrusted"
)

// Moment says why a status was sent.
type Moment string

// The moments of a status.
const (
	Hello   Moment = "hello"
	Regular Moment = "status"
	Goodbye Moment = "goodbye"
)

// Status is what an agent says every few seconds, at its start and at its end.
type Status struct {
	Agent  Agent  `json:"agent"`
	Moment Moment `json:"moment"`
	State  State  `json:"state"`
	// Reports is the number of the last report sent in this run.
	Reports   uint64              `json:"reports"`
	Positions map[Stream]Position `json:"positions"`
	// Lag is how many events it knows of and has not applied.
	Lag uint64 `json:"lag"`
	// Entries and Digest describe its set; sets with the same events have the
	// same digest.
	Entries int    `json:"entries"`
	Digest  string `json:"digest"`
	Parked  int    `json:"parked,omitempty"`
	// Rejected counts refused messages by Reason's names since the start.
	Rejected map[string]uint64 `json:"rejected,omitempty"`
	// Disk is the last write error, "" when the disk works.
	Disk string `json:"disk,omitempty"`
}

func (s *Status) member(name []byte, v value) error {
	switch string(name) {
	case "agent":
		return readObject(v, &s.Agent)
	case "moment":
		return readText(v, &s.Moment)
	case "state":
		return readText(v, &s.State)
	case "reports":
		return readUint(v, &s.Reports)
	case "positions":
		return readMap(v, &s.Positions, readBody)
	case "lag":
		return readUint(v, &s.Lag)
	case "entries":
		return readInt(v, &s.Entries)
	case "digest":
		return readText(v, &s.Digest)
	case "parked":
		return readInt(v, &s.Parked)
	case "rejected":
		return readMap(v, &s.Rejected, readUint)
	case "disk":
		return readText(v, &s.Disk)
	}
	return nil
}

// Ask is what a publisher sends to agents: send a status, or send the reports
// From to To (inclusive) again.
type Ask struct {
	From uint64 `json:"from,omitempty"`
	To   uint64 `json:"to,omitempty"`
}

func (a *Ask) member(name []byte, v value) error {
	switch string(name) {
	case "from":
		return readUint(v, &a.From)
	case "to":
		return readUint(v, &a.To)
	}
	return nil
}

// Answer is an agent's reply to a Query.
type Answer struct {
	Query EventID `json:"query"`
	Agent Agent   `json:"agent"`
	Counted
	// Untied is how many of the live tokens that the target would hit name neither a
	// session (sid) nor a time of authentication (auth_time).
	Untied int `json:"untied,omitempty"`
	// Refresh describes a refresh token asked about by its identity.
	Refresh *RefreshToken `json:"refresh,omitempty"`
}

func (a *Answer) member(name []byte, v value) error {
	switch string(name) {
	case "query":
		return readEncoded(v, &a.Query)
	case "agent":
		return readObject(v, &a.Agent)
	case "untied":
		return readInt(v, &a.Untied)
	case "refresh":
		return readPointer(v, &a.Refresh, readBody)
	}
	return a.Counted.member(name, v)
}

// RefreshToken is what was said of a refresh token when it was observed.
type RefreshToken struct {
	Realm   string `json:"realm"`
	User    string `json:"user,omitempty"`
	Expires int64  `json:"expires"`
}

func (r *RefreshToken) member(name []byte, v value) error {
	switch string(name) {
	case "realm":
		return readText(v, &r.Realm)
	case "user":
		return readText(v, &r.User)
	case "expires":
		return readInt(v, &r.Expires)
	}
	return nil
}

// maxMessage is the longest unsigned message that is decoded, in bytes.
const maxMessage = 2 << 20

// Decode reads a Report, Status, Ask or Answer: JSON of at most 2 MiB that,
// where it names an agent, names a valid one, and whose counts are not negative.
func Decode[T Report | Status | Ask | Answer](data []byte) (*T, error) {
	if len(data) > maxMessage {
		return nil, fmt.Errorf("%w: longer than %d bytes", ErrMalformed, maxMessage)
	}
	v := new(T)
	if err := readMessage(data, any(v).(messageBody)); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	var err error
	switch m := any(v).(type) {
	case *Report:
		err = m.Agent.Validate()
		if m.Number == 0 {
			err = errors.Join(err, errors.New("report without a number"))
		}
		for i := range m.Counted {
			err = errors.Join(err, m.Counted[i].validate())
		}
	case *Status:
		err = m.Agent.Validate()
	case *Answer:
		err = errors.Join(m.Agent.Validate(), m.Counted.validate())
	case *Ask:
		if m.From > m.To || (m.From == 0) != (m.To == 0) {
			err = errors.New("ask for reports from none to some, or backwards")
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return v, nil
}
