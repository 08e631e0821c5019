package events_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/binary"
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/rescind/rescind/events"
)

// beside runs the two in turn and reports the median of each in ns, and what the
// second takes beyond the first: what is left when Ed25519 alone is taken away.
// In turn, because another process on the machine then slows both.
func beside(b *testing.B, alone, whole func()) {
	var took [2][]time.Duration
	b.ReportAllocs()
	for b.Loop() {
		for i, run := range []func(){alone, whole} {
			start := time.Now()
			run()
			took[i] = append(took[i], time.Since(start))
		}
	}
	for i := range took {
		slices.Sort(took[i])
	}
	middle := len(took[0]) / 2
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(took[0][middle]), "ns-alone")
	b.ReportMetric(float64(took[1][middle]), "ns-whole")
	b.ReportMetric(float64(took[1][middle]-took[0][middle]), "ns-beyond")
}

// typical reports the median of what run takes, in place of the mean.
func typical(b *testing.B, run func()) {
	const batch = 20 // one run is too short for the clock
	var took []time.Duration
	b.ReportAllocs()
	start, n := time.Now(), 0
	for b.Loop() {
		run()
		if n++; n%batch == 0 {
			now := time.Now()
			took = append(took, now.Sub(start))
			start = now
		}
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2])/batch, "ns/op")
}

// benchRevocations are a rule and a full list.
func benchRevocations(tb testing.TB) map[string]*events.Revocation {
	list := baseRevocation(tb)
	list.NotBefore = 0
	list.Target = events.Target{Kind: events.KindTokens, Realm: "main"}
	for i := range events.MaxIdentities {
		list.Target.Identities = append(list.Target.Identities, events.OpaqueIdentity(string(binary.BigEndian.AppendUint32(nil, uint32(i)))))
	}
	return map[string]*events.Revocation{"rule": baseRevocation(tb), "list": list}
}

// benchKey is the private key of testSigner.
func benchKey(tb testing.TB) ed25519.PrivateKey {
	seed, err := testSeed()
	if err != nil {
		tb.Fatal(err)
	}
	return ed25519.NewKeyFromSeed(seed)
}

// benchOpen sets open beside ed25519.Verify of the same bytes.
func benchOpen(b *testing.B, raw []byte, open func() error) {
	key := benchKey(b)
	signed := raw[:bytes.LastIndexByte(raw, '.')]
	sig, public := ed25519.Sign(key, signed), key.Public().(ed25519.PublicKey)
	beside(b, func() {
		if !ed25519.Verify(public, signed, sig) {
			b.Fatal("bad signature")
		}
	}, func() {
		if err := open(); err != nil {
			b.Fatal(err)
		}
	})
}

func BenchmarkOpen(b *testing.B) {
	keys, signer := testKeySet(b), testSigner(b)
	for name, r := range benchRevocations(b) {
		raw := mustSign(b, signer, r)
		b.Run(name, func(b *testing.B) {
			benchOpen(b, raw, func() error { _, _, err := keys.Open(fleet, raw); return err })
		})
	}
	raw, err := signer.SignBeacon(fleet, pubURL, sampleBeacon(b))
	if err != nil {
		b.Fatal(err)
	}
	b.Run("beacon", func(b *testing.B) {
		benchOpen(b, raw, func() error { _, err := keys.OpenBeacon(fleet, raw); return err })
	})
}

func BenchmarkSign(b *testing.B) {
	signer, key := testSigner(b), benchKey(b)
	for name, r := range benchRevocations(b) {
		raw := mustSign(b, signer, r)
		signed := raw[:bytes.LastIndexByte(raw, '.')]
		b.Run(name, func(b *testing.B) {
			beside(b, func() { ed25519.Sign(key, signed) }, func() { mustSign(b, signer, r) })
		})
	}
}

// BenchmarkParseToken reads an access token as Keycloak issues them, without its
// roles.
func BenchmarkParseToken(b *testing.B) {
	header := `{"alg":"RS256","typ":"JWT","kid":"FJ86GcF3jTbNLOco4NvZkUCIUmfYCqoqtOQeMfbhNlE"}`
	claims := `{"exp":1795305600,"iat":1795302000,"auth_time":1795300000,"jti":"onrtac:6c52c0e5-3dd5-4c0e-9a3f-8d8a7d1c6b11",` +
		`"iss":"https://idp.example.com/realms/main","aud":"account","sub":"f:ae2b0cd1:jacknich","typ":"Bearer","azp":"billing",` +
		`"sid":"08a5019c-17e1-4977-8f42-65a12843ea02","scope":"openid profile email"}`
	raw := b64([]byte(header)) + "." + b64([]byte(claims)) + "." + b64(make([]byte, 64))
	typical(b, func() {
		if _, err := events.ParseToken(raw); err != nil {
			b.Fatal(err)
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	report, status := sampleReport(b), sampleStatus()
	b.Run("report", func(b *testing.B) { benchDecode[events.Report](b, report) })
	b.Run("status", func(b *testing.B) { benchDecode[events.Status](b, status) })
	b.Run("encode report", func(b *testing.B) { benchEncode(b, report) })
	b.Run("encode status", func(b *testing.B) { benchEncode(b, status) })
}

func benchDecode[T events.Report | events.Status](b *testing.B, v any) {
	raw, err := json.Marshal(v)
	if err != nil {
		b.Fatal(err)
	}
	typical(b, func() {
		if _, err := events.Decode[T](raw); err != nil {
			b.Fatal(err)
		}
	})
}

func benchEncode(b *testing.B, v any) {
	typical(b, func() {
		if _, err := json.Marshal(v); err != nil {
			b.Fatal(err)
		}
	})
}
