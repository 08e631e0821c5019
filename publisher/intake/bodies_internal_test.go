package intake

import (
	"encoding/json"
	"errors"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/rescind/rescind/publisher"
	"github.com/rescind/rescind/publisher/transmit"
)

// textsOf are the strings of a JSON object, nil when it is none.
func textsOf(body []byte) map[string]string {
	var members map[string]any
	if json.Unmarshal(body, &members) != nil {
		return nil
	}
	texts := map[string]string{}
	for name, v := range members {
		if s, ok := v.(string); ok {
			texts[name] = s
		}
	}
	return texts
}

// FuzzNativeBody: what is taken names one target, by the words that encoding/json
// reads, and nothing is read that has an unknown or a repeated member.
func FuzzNativeBody(f *testing.F) {
	for _, body := range []string{`{"user":"jack","realm":"main"}`, `{"token":"a.b.c","reason":"x"}`, `{"all":true,"not_before":1795302000}`,
		`{"tokens":["a"]}`, `{"identities":[{"iss":"i","jti":"j","exp":1}]}`, `{"claim":"a","value":"b","realm":"c"}`, `{"user":"a","User":"b"}`,
		`{"user":"a","user":"b"}`, `{"realm":"\ud800"}`, `[]`, `{"all":false}`, `{"session":"s"}`,
		`{"user":"a","token":"b"}`} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		q, err := parseNative(body)
		if err != nil {
			if !errors.Is(err, errMalformed) && !errors.Is(err, errUnprocessable) {
				t.Errorf("%q: %v", body, err)
			}
			return
		}
		texts := textsOf(body)
		for name, got := range map[string]string{"token": q.token, "refresh_token": q.refresh, "session": q.session, "client": q.client,
			"user": q.user, "claim": q.claim, "value": q.value, "realm": q.realm, "reason": q.reason} {
			if got != texts[name] {
				t.Errorf("%q: %s is %q, not %q", body, name, got, texts[name])
			}
		}
		named := 0
		for _, has := range []bool{q.token != "", q.refresh != "", q.tokens != nil, q.identities != nil, q.session != "", q.client != "", q.claim != "",
			q.user != "", q.all} {
			if has {
				named++
			}
		}
		if named > 1 || named == 0 && q.realm == "" || (q.rule().Kind == "realm") != (named == 0) {
			t.Errorf("%q names %d targets, and is taken for %s", body, named, q.rule().Kind)
		}
	})
}

// FuzzElasticBody: what is taken names a token, a refresh token, or a realm or a user.
func FuzzElasticBody(f *testing.F) {
	for _, body := range []string{`{"token":"a"}`, `{"refresh_token":"a"}`, `{"realm_name":"r","username":"u"}`, `{"token":"a","username":" "}`,
		`{"token":"","realm_name":"r"}`, `{"token":"a","refresh_token":"b"}`, `{"token":1}`, `{"token":"a","token":"b"}`, `{`, ``} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		q, err := parseElastic(body)
		if err != nil {
			_, known := errors.AsType[*elasticError](err)
			if !known {
				t.Errorf("%q: %v", body, err)
			}
			return
		}
		texts := textsOf(body)
		if q.token != texts["token"] || q.refresh != texts["refresh_token"] {
			t.Errorf("%q: token %q, refresh token %q", body, q.token, q.refresh)
		}
		byToken, byName := q.token+q.refresh != "", q.realm+q.user != ""
		if byToken == byName || q.token != "" && q.refresh != "" || byName && (q.realm != texts["realm_name"] || q.user != texts["username"]) {
			t.Errorf("%q is taken for %+v", body, *q)
		}
	})
}

// FuzzStreamBody: whatever a receiver says of its stream, whose it is and what it may
// see stays as it was.
func FuzzStreamBody(f *testing.F) {
	for _, body := range []string{`{"stream_id":"1","events_requested":["a"],"description":"d"}`, `{"delivery":{"method":"urn:ietf:rfc:8935","endpoint_url":"https://r.example"}}`,
		`{"delivery":{"method":"urn:ietf:rfc:8936","endpoint_url":"/ssf/poll/"}}`, `{"aud":"someone"}`, `{"aud":["receiver"]}`, `{"iss":"https://other.example"}`, `{"Aud":"someone"}`, `{"delivery":null}`, `{"delivery":{"method":1}}`, `{"stream_id":{}}`} {
		f.Add([]byte(body), true)
	}
	d := streamDoor{s: &Server{pub: new(publisher.Publisher)}}
	f.Fuzz(func(t *testing.T, body []byte, whole bool) {
		r := httptest.NewRequest("POST", streamPath, strings.NewReader(string(body)))
		r.Header.Set("Content-Type", "application/json")
		var q streamRequest
		err := readJSONBody(httptest.NewRecorder(), r, ssfLimit, &q)
		if err == nil {
			s := transmit.Stream{Owner: "receiver", Audience: "receiver", Realms: []string{"main"}, Method: transmit.Poll, Status: transmit.Enabled}
			err = d.apply(&s, &q, whole) // one that is new: the publisher's URL is not asked for
			if s.Owner != "receiver" || s.Audience != "receiver" || len(s.Realms) != 1 || s.Realms[0] != "main" || s.Status != transmit.Enabled || s.ID != "" {
				t.Errorf("%q makes it %+v", body, s)
			}
			if err == nil && q.Description != nil && s.Description != *q.Description {
				t.Errorf("%q: description %q", body, s.Description)
			}
		}
		if err != nil && !errors.Is(err, errMalformed) && !errors.Is(err, errTooLarge) {
			t.Errorf("%q: %v", body, err)
		}
	})
}

// FuzzAuthorization: a header is split in one way only, and holds nothing that other
// readers could split it at.
func FuzzAuthorization(f *testing.F) {
	for _, value := range []string{"Bearer a.b.c", "basic YTpi", "ApiKey  x", "Bearer", " Bearer x", "Bearer a b", "Bearer a\tb", "Bearer a,Basic b", "Bearer é"} {
		f.Add(value)
	}
	f.Fuzz(func(t *testing.T, value string) {
		scheme, credentials, err := authorization(map[string][]string{"Authorization": {value}})
		if err != nil {
			if !errors.Is(err, ErrBadCredentials) {
				t.Errorf("%q: %v", value, err)
			}
			return
		}
		name, rest, _ := strings.Cut(value, " ")
		if scheme != strings.ToLower(name) || strings.TrimLeft(rest, " ") != credentials || scheme == "" || credentials == "" ||
			strings.ContainsFunc(credentials, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
			t.Errorf("%q is %q and %q", value, scheme, credentials)
		}
		if scheme == "basic" {
			if name, secret, ok := decodePair(credentials); ok && strings.Contains(name, ":") {
				t.Errorf("%q is %q and %q", value, name, secret)
			}
		}
	})
}
