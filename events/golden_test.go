package events_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rescind/rescind/events"
)

var update = flag.Bool("update", false, "write the golden files of testdata/wire")

func TestEventsAreByteForByteTheGoldenOnes(t *testing.T) {
	signer, keys := testSigner(t), testKeySet(t)
	for name, want := range sampleRevocations(t) {
		t.Run(name, func(t *testing.T) {
			jws := goldenSigned(t, name, mustSign(t, signer, want))
			got, kid, err := keys.Open(fleet, jws)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("the golden event reads differently (-want +got):\n%s", diff)
			}
			if want := signer.Public().ID; kid != want {
				t.Errorf("key id: got %s, want %s", kid, want)
			}
		})
	}
}

func TestEveryKindHasAGoldenEvent(t *testing.T) {
	have := map[events.Kind]bool{}
	for _, r := range sampleRevocations(t) {
		have[r.Target.Kind] = true
	}
	for _, k := range events.Kinds {
		if !have[k] {
			t.Errorf("no golden event of kind %s", k)
		}
	}
}

func TestSignedMessagesAreByteForByteTheGoldenOnes(t *testing.T) {
	signer, keys := testSigner(t), testKeySet(t)
	t.Run("beacon", func(t *testing.T) {
		want := sampleBeacon(t)
		raw, err := signer.SignBeacon(fleet, pubURL, want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := keys.OpenBeacon(fleet, goldenSigned(t, "beacon", raw))
		checkSame(t, want, got, err)
	})
	t.Run("query", func(t *testing.T) {
		want := sampleQuery(t)
		raw, err := signer.SignQuery(fleet, pubURL, want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := keys.OpenQuery(fleet, goldenSigned(t, "query", raw))
		checkSame(t, want, got, err)
	})
	t.Run("receipt", func(t *testing.T) {
		want := sampleReceipt(t)
		raw, err := signer.SignReceipt(fleet, pubURL, signedAt+3, want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := keys.OpenReceipt(fleet, goldenSigned(t, "receipt", raw))
		checkSame(t, want, got, err)
	})
	t.Run("refusal", func(t *testing.T) {
		want := sampleRefusal(t)
		raw, err := signer.SignRefusal(fleet, pubURL, signedAt+60, want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := keys.OpenRefusal(fleet, goldenSigned(t, "refusal", raw))
		checkSame(t, want, got, err)
	})
}

func TestPlainMessagesAreByteForByteTheGoldenOnes(t *testing.T) {
	t.Run("report", func(t *testing.T) { checkPlain(t, "report", sampleReport(t)) })
	t.Run("status", func(t *testing.T) { checkPlain(t, "status", sampleStatus()) })
	t.Run("answer", func(t *testing.T) { checkPlain(t, "answer", sampleAnswer(t)) })
	t.Run("ask", func(t *testing.T) { checkPlain(t, "ask", sampleAsk()) })
}

func checkPlain[T events.Report | events.Status | events.Ask | events.Answer](t *testing.T, name string, want *T) {
	t.Helper()
	raw, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := events.Decode[T](golden(t, name+".json", indent(t, raw)))
	checkSame(t, want, got, err)
}

func checkSame[T any](t *testing.T, want, got *T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the golden message reads differently (-want +got):\n%s", diff)
	}
}

// goldenSigned compares the JWS with the golden one, and its claims with the
// golden claims, and gives the golden JWS.
func goldenSigned(t *testing.T, name string, jws []byte) []byte {
	t.Helper()
	claims := golden(t, name+".json", indent(t, payloadOf(t, jws)))
	stored := bytes.TrimSuffix(golden(t, name+".jws", append(jws, '\n')), []byte("\n"))
	if got, want := string(payloadOf(t, stored)), compact(t, claims); got != want {
		t.Errorf("%s.jws and %s.json differ:\n%s\n%s", name, name, got, want)
	}
	return stored
}

func golden(t *testing.T, name string, got []byte) []byte {
	t.Helper()
	if *update {
		if err := os.WriteFile(filepath.Join("..", "testdata", "wire", name), got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want := readTestdata(t, "wire", name)
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
	return want
}

func indent(t *testing.T, raw []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := json.Indent(&out, raw, "", "  "); err != nil {
		t.Fatal(err)
	}
	return append(out.Bytes(), '\n')
}
