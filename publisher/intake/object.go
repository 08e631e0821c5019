package intake

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"unicode/utf8"
)

// member is one member of a JSON object, in the order of the text.
type member struct {
	name  string
	value json.RawMessage
	// at is where its name begins in the text, valueAt where its value does.
	at, valueAt int
}

// syntaxError says what is wrong with a text that should be one JSON object.
type syntaxError struct {
	at   int
	what string
	// twice names a member that stands there twice.
	twice string
}

func (e *syntaxError) Error() string { return "body: " + e.what }

// Is makes it an errMalformed.
func (e *syntaxError) Is(target error) bool { return target == errMalformed }

// readObject reads exactly one JSON object. encoding/json would let the last of
// two members of one name win, match names whatever their case, and change what
// is no text: what a caller sees refused or revoked must be what it wrote.
func readObject(data []byte) ([]member, error) {
	if !isText(data) {
		return nil, &syntaxError{what: "not UTF-8, or half of a surrogate pair"}
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, &syntaxError{what: "not a JSON object"}
	}
	var members []member
	seen := map[string]bool{}
	for dec.More() {
		m := member{at: skip(data, int(dec.InputOffset()))}
		t, err := dec.Token()
		name, ok := t.(string)
		if err != nil || !ok {
			return nil, &syntaxError{at: m.at, what: "not a JSON object"}
		}
		m.name, m.valueAt = name, skip(data, int(dec.InputOffset()))
		if err := dec.Decode(&m.value); err != nil {
			return nil, &syntaxError{at: m.valueAt, what: "not a JSON object"}
		}
		if seen[name] {
			return nil, &syntaxError{at: m.at, what: fmt.Sprintf("member %q stands there twice", name), twice: name}
		}
		seen[name] = true
		members = append(members, m)
	}
	if _, err := dec.Token(); err != nil {
		return nil, &syntaxError{at: int(dec.InputOffset()), what: "not a JSON object"}
	}
	end := skip(data, int(dec.InputOffset()))
	if _, err := dec.Token(); err != io.EOF {
		return nil, &syntaxError{at: end, what: "something follows the JSON object"}
	}
	return members, nil
}

// skip gives the place of the next token.
func skip(data []byte, at int) int {
	for at < len(data) && bytes.IndexByte([]byte(" \t\r\n,:"), data[at]) >= 0 {
		at++
	}
	return at
}

var (
	// wholeEscapes are escaped backslashes and whole pairs of surrogates; what
	// looks like a surrogate beside them is half of one.
	wholeEscapes = regexp.MustCompile(`\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}`)
	halfEscape   = regexp.MustCompile(`\\u[dD][89a-fA-F]`)
)

func isText(data []byte) bool {
	return utf8.Valid(data) && !halfEscape.Match(wholeEscapes.ReplaceAll(data, []byte(" ")))
}

// str gives the member's value when it is a string.
func (m *member) str() (string, bool) {
	if m.value[0] != '"' {
		return "", false
	}
	var s string
	err := json.Unmarshal(m.value, &s)
	return s, err == nil
}
