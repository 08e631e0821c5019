package intake

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/rescind/rescind/events"
)

// nativeRequest is a body of POST /v1/revocations, checked for its shape.
type nativeRequest struct {
	token, refresh        string
	tokens                []string
	identities            []identityRequest
	session, client, user string
	claim, value, realm   string
	all                   bool
	reason                string
	notBefore             int64
	given                 map[string]bool
}

// identityRequest names a token that the caller does not hold.
type identityRequest struct {
	issuer, jti string
	expires     int64
}

// maxTokens is how many tokens one request may list: an event's worth, so that a
// list comes into force as a whole.
const maxTokens = events.MaxIdentities

// nativeMembers are the members of a body, and how each is read.
var nativeMembers = map[string]func(*nativeRequest, *member) error{
	"token":         func(q *nativeRequest, m *member) error { return text(m, events.MaxTokenBytes, &q.token) },
	"refresh_token": func(q *nativeRequest, m *member) error { return text(m, events.MaxTokenBytes, &q.refresh) },
	"tokens":        (*nativeRequest).readTokens,
	"identities":    (*nativeRequest).readIdentities,
	"session":       func(q *nativeRequest, m *member) error { return text(m, events.MaxValueBytes, &q.session) },
	"client":        func(q *nativeRequest, m *member) error { return text(m, events.MaxValueBytes, &q.client) },
	"user":          func(q *nativeRequest, m *member) error { return text(m, events.MaxValueBytes, &q.user) },
	"claim":         func(q *nativeRequest, m *member) error { return text(m, events.MaxValueBytes, &q.claim) },
	"value":         func(q *nativeRequest, m *member) error { return text(m, events.MaxValueBytes, &q.value) },
	"realm":         func(q *nativeRequest, m *member) error { return text(m, events.MaxValueBytes, &q.realm) },
	"all":           (*nativeRequest).readAll,
	"reason":        func(q *nativeRequest, m *member) error { return text(m, events.MaxReasonBytes, &q.reason) },
	"not_before":    func(q *nativeRequest, m *member) error { return seconds(m, &q.notBefore) },
}

// nativeTargets are the members that each name a target alone.
var nativeTargets = []string{"token", "refresh_token", "tokens", "identities", "session", "client", "claim", "user", "all"}

// parseNative reads a body, and tells of every member that is not right.
func parseNative(body []byte) (*nativeRequest, error) {
	members, err := readObject(body)
	if err != nil {
		return nil, err
	}
	q := &nativeRequest{given: map[string]bool{}}
	var errs fieldErrors
	for i := range members {
		m := &members[i]
		read := nativeMembers[m.name]
		if read == nil {
			errs = errs.add(m.name, "unknown member")
			continue
		}
		q.given[m.name] = true
		if err := read(q, m); err != nil {
			errs = errs.add(m.name, err.Error())
		}
	}
	if len(errs) == 0 {
		errs = q.check()
	}
	if len(errs) > 0 {
		return nil, errs
	}
	return q, nil
}

// maxFieldErrors is how many an answer lists.
const maxFieldErrors = 20

func (f fieldErrors) add(path, detail string) fieldErrors {
	if len(f) == maxFieldErrors {
		return f
	}
	return append(f, fieldError{Pointer: pointer(strings.Split(path, "\x00")...), Detail: detail})
}

// check refuses a body that names no target or more than one.
func (q *nativeRequest) check() (errs fieldErrors) {
	var targets []string
	for _, name := range nativeTargets {
		if q.given[name] {
			targets = append(targets, name)
		}
	}
	if len(targets) > 1 {
		for _, name := range targets {
			errs = errs.add(name, "only one target may be named, not "+strings.Join(targets, " and "))
		}
		return errs
	}
	if len(targets) == 0 && !q.given["realm"] {
		return fieldErrors{{Pointer: "#", Detail: "no target: name one of " + strings.Join(nativeTargets, ", ") + ", realm"}}
	}
	target := ""
	if len(targets) == 1 {
		target = targets[0]
	}
	needsRealm := target == "session" || target == "client" || target == "claim"
	switch {
	case needsRealm && !q.given["realm"]:
		errs = errs.add("realm", "is needed beside "+target)
	case !needsRealm && target != "user" && target != "" && q.given["realm"]:
		errs = errs.add("realm", "makes no sense beside "+target)
	}
	if q.given["claim"] != q.given["value"] {
		errs = errs.add("value", "claim and value belong together")
	}
	return errs
}

func text(m *member, limit int, to *string) error {
	s, ok := m.str()
	if !ok || s == "" || len(s) > limit {
		return fmt.Errorf("must be a string of 1 to %d bytes", limit)
	}
	*to = s
	return nil
}

// seconds reads a time in whole Unix seconds.
func seconds(m *member, to *int64) error {
	n, err := strconv.ParseInt(string(m.value), 10, 64)
	if err != nil || n <= 0 || n >= 1<<53 {
		return fmt.Errorf("must be a time in whole seconds since 1970")
	}
	*to = n
	return nil
}

func (q *nativeRequest) readAll(m *member) error {
	if q.all = string(m.value) == "true"; !q.all {
		return fmt.Errorf("must be true")
	}
	return nil
}

func (q *nativeRequest) readTokens(m *member) error {
	items, err := list(m)
	if err != nil {
		return err
	}
	for i := range items {
		var s string
		if text(&member{value: items[i]}, events.MaxTokenBytes, &s) != nil {
			return fmt.Errorf("item %d must be a string of 1 to %d bytes", i, events.MaxTokenBytes)
		}
		q.tokens = append(q.tokens, s)
	}
	return nil
}

func list(m *member) (items []json.RawMessage, err error) {
	if m.value[0] != '[' || json.Unmarshal(m.value, &items) != nil || len(items) == 0 || len(items) > maxTokens {
		return nil, fmt.Errorf("must be a list of 1 to %d", maxTokens)
	}
	return items, nil
}

func (q *nativeRequest) readIdentities(m *member) error {
	items, err := list(m)
	if err != nil {
		return err
	}
	for i := range items {
		id, err := readIdentity(items[i])
		if err != nil {
			return fmt.Errorf("item %d: %w", i, err)
		}
		q.identities = append(q.identities, id)
	}
	return nil
}

func readIdentity(raw json.RawMessage) (id identityRequest, err error) {
	members, err := readObject(raw)
	if err != nil {
		return id, err
	}
	return identityOf(members)
}

func identityOf(members []member) (id identityRequest, err error) {
	for i := range members {
		m := &members[i]
		switch m.name {
		case "iss":
			err = text(m, events.MaxValueBytes, &id.issuer)
		case "jti":
			err = text(m, events.MaxValueBytes, &id.jti)
		case "exp":
			err = seconds(m, &id.expires)
		default:
			err = fmt.Errorf("unknown member")
		}
		if err != nil {
			return id, fmt.Errorf("%s: %w", m.name, err)
		}
	}
	if id.issuer == "" || id.jti == "" {
		return id, fmt.Errorf("iss and jti are needed")
	}
	return id, nil
}

// names tells which member a request's target is, for pointers.
func (q *nativeRequest) names() string {
	i := slices.IndexFunc(nativeTargets, func(name string) bool { return q.given[name] })
	if i < 0 {
		return "realm"
	}
	return nativeTargets[i]
}
