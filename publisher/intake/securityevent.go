package intake

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/realm"
	"github.com/rescind/rescind/publisher"
	"github.com/rescind/rescind/publisher/transmit"
)

// setError is why a security event is refused for good (RFC 8935 section 2.4, SSF
// 1.0 section 8.1.4.1).
type setError struct {
	code  string
	cause error
}

// The error codes that are used.
const (
	setInvalid        = "invalid_request"
	setKey            = "invalid_key"
	setIssuer         = "invalid_issuer"
	setAudience       = "invalid_audience"
	setAuthentication = "authentication_failed"
	setDenied         = "access_denied"
)

func (e *setError) Error() string { return e.cause.Error() }

// Is makes it an errMalformed, that is, 400, whatever its cause would be elsewhere.
func (e *setError) Is(target error) bool { return target == errMalformed }

func refuseSET(code, reason string) error { return &setError{code, errors.New(reason)} }

// securityEvent is a verified SET that somebody may act on.
type securityEvent struct {
	from *transmitter
	*realm.Statement
	// subject is sub_id, else that of the event (as before SSF was final).
	subject json.RawMessage
	kinds   map[string]map[string]any
}

// readSET verifies a SET of a known transmitter (RFC 8417, and SSF 1.0 section 4.1).
// authorization is checked where it was pushed; nil means that it was fetched.
func (s *Server) readSET(ctx context.Context, raw string, pushed bool, authorization []string) (*securityEvent, error) {
	unverified, err := events.ParseStatement(raw)
	if err != nil {
		return nil, &setError{setInvalid, err}
	}
	from := s.transmitters.byIssuer[unverified.Issuer]
	switch {
	case unverified.Type != "secevent+jwt":
		return nil, refuseSET(setInvalid, "typ is not secevent+jwt")
	case from == nil:
		return nil, refuseSET(setIssuer, "iss is no transmitter that is known here")
	case pushed && !from.knows(authorization):
		return nil, refuseSET(setAuthentication, "the Authorization header is not the one that was agreed on")
	}
	st, err := from.keys.Verify(ctx, raw)
	switch {
	case errors.Is(err, realm.ErrKeysUnavailable) || ctx.Err() != nil:
		return nil, err
	case errors.Is(err, realm.ErrUnknownKey):
		return nil, &setError{setKey, err}
	case err != nil:
		return nil, &setError{setAuthentication, err}
	}
	e := &securityEvent{from: from, Statement: st}
	if !slices.ContainsFunc(st.Audience, func(aud string) bool { return slices.Contains(s.audienceOf(from), aud) }) {
		return nil, refuseSET(setAudience, "aud is not this receiver")
	}
	return e, e.read()
}

func (s *Server) audienceOf(t *transmitter) []string {
	if t.Audience == nil {
		return []string{s.pub.Issuer()}
	}
	return t.Audience
}

// read checks what SSF has of every SET and finds its subject.
func (e *securityEvent) read() error {
	for _, name := range []string{"sub", "exp"} {
		if _, ok := e.Claims[name]; ok {
			return refuseSET(setInvalid, name+" must not be in a security event")
		}
	}
	if e.JTI == "" || e.IssuedAt == 0 {
		return refuseSET(setInvalid, "one of jti and iat is missing")
	}
	if err := e.CheckTimes(e.from.realm.Leeway); err != nil {
		return &setError{setInvalid, err}
	}
	all, ok := e.Claims["events"].(map[string]any)
	if !ok || len(all) == 0 {
		return refuseSET(setInvalid, "events is not an object with a member")
	}
	subject, hasSubject := e.Claims["sub_id"]
	e.kinds = make(map[string]map[string]any, len(all))
	for uri, v := range all {
		body, ok := v.(map[string]any)
		if !ok {
			return refuseSET(setInvalid, "an event is not an object")
		}
		e.kinds[uri] = body
		within, ok := body["subject"]
		switch {
		case ok && !hasSubject:
			subject, hasSubject = within, true
		case ok && !reflect.DeepEqual(subject, within):
			return refuseSET(setInvalid, "sub_id and the event's subject differ")
		}
	}
	if !hasSubject {
		return refuseSET(setInvalid, "sub_id is missing")
	}
	var err error
	e.subject, err = json.Marshal(subject)
	return err
}

// revoking are the event types in it that sign its subject out.
func (e *securityEvent) revoking() []string {
	var out []string
	for _, uri := range e.from.Events {
		if _, ok := e.kinds[uri]; ok {
			out = append(out, uri)
		}
	}
	return out
}

// take does what an event asks for, and forgets the rest. An event that is of no use
// here is taken all the same: nobody is to send it again.
func (s *Server) take(ctx context.Context, d door, e *securityEvent) error {
	sub, err := readSubject(e.subject)
	if err != nil && !errors.Is(err, errSubject) {
		return &setError{setInvalid, err}
	}
	uris := e.revoking()
	if len(uris) == 0 {
		s.aboutStream(d, e)
		return nil
	}
	var targets []publisher.Target
	if err == nil {
		targets, err = e.from.home(s.realms).targets(sub)
	}
	if err != nil {
		s.ignored(d, e, err.Error())
		return nil
	}
	for i := range targets {
		if err := s.carryOut(ctx, d, e, e.kinds[uris[0]], &targets[i], i); err != nil {
			return err
		}
	}
	return nil
}

// typeStreamUpdated is the event by which a transmitter tells that it has changed the
// stream's status (SSF 1.0 section 8.1).
const typeStreamUpdated = "https://schemas.openid.net/secevent/ssf/event-type/stream-updated"

// aboutStream takes an event that signs nobody out. A stream that its transmitter has
// paused or disabled is lost sign-outs, so that is told.
func (s *Server) aboutStream(d door, e *securityEvent) {
	if _, ok := e.kinds[transmit.TypeVerification]; ok {
		s.log.Info("a stream of security events is verified", "door", d.name(), "transmitter", e.Issuer)
		return
	}
	updated, ok := e.kinds[typeStreamUpdated]
	if !ok {
		s.ignored(d, e, "no event type in it signs anybody out")
		return
	}
	status, _ := updated["status"].(string)
	reason, _ := updated["reason"].(string)
	if status == "enabled" {
		s.log.Info("a transmitter has enabled the stream of security events", "door", d.name(), "transmitter", e.Issuer, "reason", shorten(reason))
		return
	}
	s.log.Error("a transmitter sends no security events any more: sign-outs there are not heard of", "door", d.name(), "transmitter", e.Issuer,
		"status", shorten(status), "reason", shorten(reason))
	s.metrics.ignored(d.name())
}

func (s *Server) carryOut(ctx context.Context, d door, e *securityEvent, body map[string]any, t *publisher.Target, n int) error {
	o := publisher.Order{Target: *t, Ahead: true, Wait: publisher.WaitNone, Reason: reasonOf(body),
		Key: "security event " + strconv.Quote(e.Issuer) + " " + strconv.Itoa(n) + " " + e.JTI}
	if t.Kind.HasCutoff() {
		o.NotBefore = cutoffOf(e, body, e.from.realm)
	}
	_, err := s.revoke(ctx, d, e.from.caller(initiatorOf(body)), o, []string{t.Realm})
	switch {
	case errors.Is(err, ErrForbidden):
		return &setError{setDenied, err}
	case errors.Is(err, publisher.ErrConflict):
		return refuseSET(setInvalid, "jti is that of another event")
	case errors.Is(err, publisher.ErrInvalid):
		s.ignored(d, e, err.Error()) // so old that no token from then lives
		return nil
	}
	return err
}

func (s *Server) ignored(d door, e *securityEvent, why string) {
	s.log.Warn("security event is of no use here", "door", d.name(), "transmitter", e.Issuer, "jti", e.JTI, "reason", why)
	s.metrics.ignored(d.name())
}

// cutoffOf is when the event says that it happened (CAEP 1.0 section 2), else its
// toe, else its iat; with the realm's skew, as every cutoff has it.
func cutoffOf(e *securityEvent, body map[string]any, r *realm.Realm) int64 {
	at := e.IssuedAt
	for _, v := range []any{e.Claims["toe"], body["event_timestamp"]} {
		if f, ok := v.(float64); ok && f > 0 && f < 1<<53 {
			at = int64(f)
		}
	}
	return at + int64(r.Skew/time.Second)
}

func initiatorOf(body map[string]any) events.Initiator {
	text, _ := body["initiating_entity"].(string)
	if by, err := events.ParseInitiator(text); err == nil {
		return by
	}
	return events.BySystem
}

// reasonOf is reason_admin, in English if it is there in several languages; it was a
// string before CAEP was final.
func reasonOf(body map[string]any) string {
	switch reason := body["reason_admin"].(type) {
	case string:
		return shorten(reason)
	case map[string]any:
		for _, tag := range slices.SortedFunc(maps.Keys(reason), englishFirst) {
			if text, _ := reason[tag].(string); text != "" {
				return shorten(text)
			}
		}
	}
	return ""
}

func englishFirst(a, b string) int {
	rank := func(tag string) string {
		if tag == "en" || strings.HasPrefix(tag, "en-") {
			return " " + tag
		}
		return tag
	}
	return strings.Compare(rank(a), rank(b))
}

// shorten leaves of a text what a reason may have.
func shorten(text string) string {
	for len(text) > events.MaxReasonBytes {
		_, size := utf8.DecodeLastRuneInString(text)
		text = text[:len(text)-size]
	}
	return text
}

// describeSET is an error for the transmitter.
func describeSET(err error) (code, description string) {
	if e, ok := errors.AsType[*setError](err); ok {
		return e.code, fmt.Sprint(e.cause)
	}
	return setInvalid, err.Error()
}
