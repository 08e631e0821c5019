package intake

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/realm"
	"github.com/rescind/rescind/publisher"
)

// subject is a subject identifier (RFC 9493, and SSF 1.0 section 3): who or what a
// request or an event is about.
type subject struct {
	format string
	// texts are the members of a simple one.
	texts map[string]string
	// parts are the members of a complex one; dropped tells that it has others, whose
	// formats are not known.
	parts   map[string]*subject
	dropped bool
	// aliases are other names of the same subject.
	aliases []*subject
}

// errSubject is a subject that is well formed and means nothing that could be
// revoked here.
var errSubject = fmt.Errorf("%w: subject", errUnprocessable)

// simpleFormats are the formats whose members are strings, all of them required,
// and no others allowed (RFC 9493 section 3).
var simpleFormats = map[string][]string{
	"account":           {"uri"},
	"email":             {"email"},
	"iss_sub":           {"iss", "sub"},
	"opaque":            {"id"},
	"phone_number":      {"phone_number"},
	"did":               {"url"},
	"uri":               {"uri"},
	"jwt_id":            {"iss", "jti"},
	"saml_assertion_id": {"issuer", "assertion_id"},
}

// oldFormats are the names that formats had in drafts, which some still send.
var oldFormats = map[string]string{"iss-sub": "iss_sub", "phone": "phone_number", "id_token_claims": "iss_sub"}

// maxAliases bounds what one subject can ask for.
const maxAliases = 16

// readSubject reads a subject identifier. The error is errMalformed for one that
// RFC 9493 refuses, and errSubject for a format that is not known.
func readSubject(raw json.RawMessage) (*subject, error) { return readSubjectAt(raw, true) }

func readSubjectAt(raw json.RawMessage, outermost bool) (*subject, error) {
	members, err := readObject(raw)
	if err != nil {
		return nil, fmt.Errorf("%w: subject: not a JSON object, or one with a member twice", errMalformed)
	}
	given := map[string]json.RawMessage{}
	for _, m := range members {
		given[m.name] = m.value
	}
	s := &subject{texts: map[string]string{}, parts: map[string]*subject{}}
	// Drafts called it subject_type.
	for _, name := range []string{"subject_type", "format"} {
		if v, ok := given[name]; ok && json.Unmarshal(v, &s.format) != nil {
			return nil, fmt.Errorf("%w: subject: format is not a string", errMalformed)
		}
		delete(given, name)
	}
	if name, old := oldFormats[s.format]; old {
		s.format = name
	}
	required, simple := simpleFormats[s.format]
	switch {
	case s.format == "":
		return nil, fmt.Errorf("%w: subject: format is missing", errMalformed)
	case simple:
		return s, s.readTexts(given, required)
	case s.format == "complex" && outermost:
		return s, s.readParts(given)
	case s.format == "aliases" && outermost:
		return s, s.readAliases(given)
	}
	return nil, fmt.Errorf("%w: its format is not known", errSubject)
}

func (s *subject) readTexts(given map[string]json.RawMessage, required []string) error {
	for _, name := range required {
		var text string
		if v, ok := given[name]; !ok || json.Unmarshal(v, &text) != nil || text == "" || len(text) > events.MaxValueBytes {
			return fmt.Errorf("%w: subject: %s must be a string of 1 to %d bytes", errMalformed, name, events.MaxValueBytes)
		}
		s.texts[name] = text
	}
	if len(given) > len(required) {
		return fmt.Errorf("%w: subject: format %s has no other members than %s", errMalformed, s.format, strings.Join(required, ", "))
	}
	return nil
}

func (s *subject) readParts(given map[string]json.RawMessage) error {
	for name, v := range given {
		part, err := readSubjectAt(v, false)
		if errors.Is(err, errMalformed) {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err == nil {
			s.parts[name] = part
		} else {
			s.dropped = true
		}
	}
	return nil
}

func (s *subject) readAliases(given map[string]json.RawMessage) error {
	var all []json.RawMessage
	if v, ok := given["identifiers"]; !ok || len(given) != 1 || json.Unmarshal(v, &all) != nil || len(all) == 0 || len(all) > maxAliases {
		return fmt.Errorf("%w: subject: identifiers must be 1 to %d, and nothing else be there", errMalformed, maxAliases)
	}
	for _, v := range all {
		alias, err := readSubjectAt(v, false)
		if errors.Is(err, errMalformed) {
			return err
		}
		if err == nil {
			s.aliases = append(s.aliases, alias)
		}
	}
	return nil
}

// home is where a subject belongs that does not say so itself: a realm, and its
// issuer, where only that one may be meant.
type home struct {
	realms *realm.Realms
	realm  *realm.Realm // nil when nothing tells
	issuer string       // "" when any of the realm's
	tenant string       // what others call the realm, "" when as we do
}

// targets are what is to be revoked for a subject. The error is errSubject when it
// means nothing here.
func (h home) targets(s *subject) ([]publisher.Target, error) {
	switch s.format {
	case "complex":
		return h.complex(s)
	case "aliases":
		return h.any(s.aliases)
	case "iss_sub":
		r, ok := h.realms.ByIssuer(s.texts["iss"])
		if !ok {
			return nil, fmt.Errorf("%w: iss is the issuer of no realm", errSubject)
		}
		return []publisher.Target{{Kind: events.KindUser, Realm: r.Name, Issuer: s.texts["iss"], Claim: "sub", Value: s.texts["sub"]}}, nil
	case "jwt_id":
		return h.token(s.texts["iss"], s.texts["jti"])
	case "email", "opaque":
		return h.user(s)
	}
	return nil, fmt.Errorf("%w: nothing in a token is called by format %s", errSubject, s.format)
}

// any gives the targets of all names of a subject that mean something.
func (h home) any(all []*subject) ([]publisher.Target, error) {
	var out []publisher.Target
	err := fmt.Errorf("%w: none of the identifiers is known", errSubject)
	for _, s := range all {
		var targets []publisher.Target
		if targets, err = h.targets(s); err == nil {
			out = append(out, targets...)
		}
	}
	if len(out) > 0 {
		return out, nil
	}
	return nil, err
}

func (h home) token(iss, jti string) ([]publisher.Target, error) {
	r, ok := h.realms.ByIssuer(iss)
	if !ok {
		return nil, fmt.Errorf("%w: iss is the issuer of no realm", errSubject)
	}
	t := publisher.Token{Realm: r.Name, Token: &events.Token{Identity: events.JTIIdentity(iss, jti), Issuer: iss, JTI: jti}}
	return []publisher.Target{{Kind: events.KindToken, Realm: r.Name, Tokens: []publisher.Token{t}}}, nil
}

// user finds a user by what the realm's tokens say: opaque names are those of its
// user_claim. An address is looked for as it is written and in lower case.
func (h home) user(s *subject) ([]publisher.Target, error) {
	if h.realm == nil {
		return nil, fmt.Errorf("%w: it does not say of which realm it is", errSubject)
	}
	claim, values := h.realm.UserClaim, []string{s.texts["id"]}
	if s.format == "email" {
		if claim = h.realm.EmailClaim; claim == "" {
			return nil, fmt.Errorf("%w: realm %s has no email_claim, so no token is found by an address", errSubject, h.realm.Name)
		}
		values = slices.Compact([]string{s.texts["email"], strings.ToLower(s.texts["email"])})
	}
	var out []publisher.Target
	for _, value := range values {
		out = append(out, publisher.Target{Kind: events.KindUser, Realm: h.realm.Name, Issuer: h.issuer, Claim: claim, Value: value})
	}
	return out, nil
}

// complex gives the narrowest target that hits all that the parts have in common
// (SSF 1.0 section 8.1.3.1): a part that is not there stands for any. A session or a
// user is hit whole, whatever narrows it down further, such as a device, which no
// token tells; a client or a realm only where nothing does.
func (h home) complex(s *subject) ([]publisher.Target, error) {
	user := s.parts["user"]
	h, known, err := h.within(s.parts["tenant"])
	switch {
	case err != nil:
		return nil, err
	case user != nil && user.format == "iss_sub":
		if h, err = h.of(user.texts["iss"]); err != nil {
			return nil, err
		}
	case !known:
		return nil, fmt.Errorf("%w: its tenant is no realm", errSubject)
	}
	session, app, tenant := s.parts["session"], s.parts["application"], s.parts["tenant"]
	switch {
	case session != nil && session.format == "opaque":
		return h.rule(events.KindSession, session.texts["id"])
	case user != nil:
		return h.targets(user)
	case s.only("application", "tenant") && app != nil && app.format == "opaque":
		return h.rule(events.KindClient, app.texts["id"])
	case s.only("tenant") && tenant != nil:
		return h.rule(events.KindRealm, "")
	}
	return nil, fmt.Errorf("%w: none of its parts is in a token", errSubject)
}

// only tells whether a complex subject has no parts but these.
func (s *subject) only(names ...string) bool {
	for name := range s.parts {
		if !slices.Contains(names, name) {
			return false
		}
	}
	return !s.dropped
}

func (h home) rule(kind events.Kind, value string) ([]publisher.Target, error) {
	if h.realm == nil {
		return nil, fmt.Errorf("%w: it does not say of which realm it is", errSubject)
	}
	t := publisher.Target{Kind: kind, Realm: h.realm.Name, Value: value}
	if kind == events.KindSession {
		t.Issuer = h.issuer
	}
	return []publisher.Target{t}, nil
}

// within is the realm that a tenant names: by its name, by an issuer of it, or by what
// the sender calls it. known tells whether it does; senders have names of their own,
// which say nothing against a user who is named by an issuer.
func (h home) within(tenant *subject) (in home, known bool, err error) {
	if tenant == nil {
		return h, true, nil
	}
	for _, name := range []string{tenant.texts["id"], tenant.texts["uri"], tenant.texts["iss"]} {
		if name != "" && name == h.tenant {
			return h, true, nil
		}
		if r, ok := h.realms.Get(name); ok {
			if h.realm != nil && h.realm != r {
				return h, false, fmt.Errorf("%w: its tenant is another realm than its own", errSubject)
			}
			return home{realms: h.realms, realm: r, issuer: h.issuer}, true, nil
		}
		if _, ok := h.realms.ByIssuer(name); ok {
			in, err = h.of(name)
			return in, true, err
		}
	}
	return h, false, nil
}

// of is the realm of an issuer, and that issuer alone.
func (h home) of(issuer string) (home, error) {
	r, ok := h.realms.ByIssuer(issuer)
	if !ok {
		return h, fmt.Errorf("%w: iss is the issuer of no realm", errSubject)
	}
	if h.realm != nil && h.realm != r {
		return h, fmt.Errorf("%w: iss is not an issuer of realm %s", errSubject, h.realm.Name)
	}
	return home{realms: h.realms, realm: r, issuer: issuer}, nil
}
