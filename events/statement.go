package events

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
)

// Statement is what a JWT says that is made for one reader to act on, and never to
// be accepted as a token: a logout token, a security event of somebody else's, the
// assertion by which a client proves who it is.
type Statement struct {
	// Type is the header's typ in lower case and without "application/", "" when
	// absent.
	Type string
	// Issuer, Subject and JTI are iss, sub and jti, "" when absent.
	Issuer, Subject, JTI string
	// Audience is aud: none, one or several.
	Audience []string
	// IssuedAt, NotBefore and Expires are iat, nbf and exp in Unix seconds, iat
	// rounded down, the others up; 0 when absent.
	IssuedAt, NotBefore, Expires int64
	// Claims are all claims under their exact names, as encoding/json reads them.
	Claims map[string]any
}

// ParseStatement reads a JWT as strictly as ParseToken does, and more so: a name
// must not stand twice in any object in it. Its typ is for the caller to judge, and
// the signature too. The error is ErrMalformedToken with the reason, never with any
// part of the statement.
func ParseStatement(raw string) (*Statement, error) {
	d := newDocument()
	defer d.release()
	typ, payload, _, err := openCompact(d, raw)
	if err != nil {
		return nil, err
	}
	o, err := d.scan(payload)
	if err == nil {
		err = d.refuseRepeats()
	}
	if err != nil {
		return nil, fmt.Errorf("%w: payload: %w", ErrMalformedToken, err)
	}
	s := &Statement{Type: typ}
	if err := s.read(o); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformedToken, err)
	}
	if err := json.Unmarshal(payload, &s.Claims); err != nil {
		return nil, fmt.Errorf("%w: payload: not JSON", ErrMalformedToken)
	}
	return s, nil
}

func (s *Statement) read(o object) (err error) {
	for name, to := range map[string]*string{"iss": &s.Issuer, "sub": &s.Subject, "jti": &s.JTI} {
		if *to, err = o.str(name); err != nil {
			return err
		}
	}
	if s.IssuedAt, err = o.seconds("iat", math.Floor); err != nil {
		return err
	}
	if s.NotBefore, err = o.seconds("nbf", math.Ceil); err != nil {
		return err
	}
	if s.Expires, err = o.seconds("exp", math.Ceil); err != nil {
		return err
	}
	s.Audience, err = readAudience(o.get("aud"))
	return err
}

// readAudience reads one string, or an array of them (RFC 7519 section 4.1.3).
func readAudience(v value) ([]string, error) {
	switch v.form() {
	case 0:
		return nil, nil
	case isString:
		return []string{string(v.raw())}, nil
	case isArray:
		var all []string
		for e := range v.elements() {
			if e.form() != isString {
				return nil, errAudience
			}
			all = append(all, string(e.raw()))
		}
		return all, nil
	}
	return nil, errAudience
}

var errAudience = errors.New("member aud is neither a string nor an array of strings")

// refuseRepeats looks at every object of the document: scan looks at the outermost.
func (d *document) refuseRepeats() error {
	for at := range d.nodes {
		if v := (value{d, int32(at)}); v.form() == isObject {
			if _, err := v.object(); err != nil {
				return err
			}
		}
	}
	return nil
}
