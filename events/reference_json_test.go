package events

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	exact "github.com/go-jose/go-jose/v4/json"
)

// This file reads JSON and base64url by the same rules as the package, with the
// libraries' decoders, level by level: slower, and easier to believe. Tests hold
// the package's own reading against it.

// referenceObject is a JSON object's members by their exact names. encoding/json alone
// would match names of struct fields without regard to case and let the last
// duplicate win; both are ways around a revocation.
type referenceObject map[string]json.RawMessage

// parseObject reads exactly one JSON object, refusing duplicate names, text that
// is not Unicode and anything behind it.
func parseObject(data []byte) (referenceObject, error) {
	if err := checkText(data); err != nil {
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.New("not a JSON object")
	}
	o := make(referenceObject, 12)
	for dec.More() {
		t, err := dec.Token()
		name, ok := t.(string)
		if err != nil || !ok {
			return nil, errors.New("not a JSON object")
		}
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return nil, errors.New("not a JSON object")
		}
		if _, dup := o[name]; dup {
			return nil, errors.New("a member name appears twice")
		}
		o[name] = raw
	}
	if _, err := dec.Token(); err != nil {
		return nil, errors.New("not a JSON object")
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, errors.New("data behind the JSON object")
	}
	return o, nil
}

func (o referenceObject) has(name string) bool { _, ok := o[name]; return ok }

// str gives a member that must be a string when present; absent is "".
func (o referenceObject) str(name string) (string, error) {
	raw, ok := o[name]
	if !ok {
		return "", nil
	}
	s, ok := rawString(raw)
	if !ok {
		return "", fmt.Errorf("member %s is not a string", name)
	}
	return s, nil
}

// decodeObject reads exactly one JSON object into the struct v by the rules of
// parseObject, which hold for the objects within it too.
func decodeObject(data []byte, v any) error {
	if err := checkText(data); err != nil {
		return err
	}
	if !bytes.HasPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte("{")) {
		return errors.New("not a JSON object")
	}
	if exact.Unmarshal(data, v) != nil {
		return errors.New("a member has the wrong type or appears twice")
	}
	return nil
}

// checkText refuses invalid UTF-8 and escaped halves of surrogate pairs.
// encoding/json reads each of them as U+FFFD, by which strings that differ, such
// as the jti of two tokens, would become one.
func checkText(data []byte) error {
	if !utf8.Valid(data) {
		return errors.New("not valid UTF-8")
	}
	for i := 0; i < len(data); i++ {
		if data[i] != '\\' {
			continue
		}
		if r := escaped(data[i:]); utf16.IsSurrogate(r) {
			if utf16.DecodeRune(r, escaped(data[i+6:])) == utf8.RuneError {
				return errors.New("half of a surrogate pair")
			}
			i += 6
		}
		i++ // what is escaped may itself be a backslash
	}
	return nil
}

// escaped gives the code unit of the \uXXXX that b begins with, -1 if it does not.
func escaped(b []byte) rune {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return -1
	}
	n, err := strconv.ParseUint(string(b[2:6]), 16, 16)
	if err != nil {
		return -1
	}
	return rune(n)
}

// into decodes a member into v when present; null is no value of any type.
func (o referenceObject) into(name string, v any) error {
	raw, ok := o[name]
	if !ok {
		return nil
	}
	if string(raw) == "null" || exact.Unmarshal(raw, v) != nil {
		return fmt.Errorf("member %s has the wrong type", name)
	}
	return nil
}

// seconds gives a NumericDate (RFC 7519 section 2) in whole seconds, rounded by
// round, and whether it is present. A fraction is legal; null, a string, or a
// value outside [0, 2^53) is not.
func (o referenceObject) seconds(name string, round func(float64) float64) (int64, bool, error) {
	raw, ok := o[name]
	if !ok {
		return 0, false, nil
	}
	bad := fmt.Errorf("member %s is not a time in seconds", name)
	if n, err := strconv.ParseInt(string(raw), 10, 64); err == nil {
		if n < 0 || n >= maxTime {
			return 0, false, bad
		}
		return n, true, nil
	}
	f, err := strconv.ParseFloat(string(raw), 64)
	if err != nil || f < 0 || f >= maxTime {
		return 0, false, bad
	}
	return int64(round(f)), true, nil
}

func rawString(raw json.RawMessage) (string, bool) {
	if len(raw) == 0 || raw[0] != '"' {
		return "", false
	}
	var s string
	err := json.Unmarshal(raw, &s)
	return s, err == nil
}

// decodeB64 decodes strict base64url without padding. Go's decoder skips CR and
// LF even when strict, so they are refused first.
func decodeB64(s string) ([]byte, error) {
	if strings.ContainsAny(s, "\r\n") {
		return nil, errors.New("line break in base64url")
	}
	return base64.RawURLEncoding.Strict().DecodeString(s)
}
