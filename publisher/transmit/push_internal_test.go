package transmit

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
)

func TestEndpointsThatPushesMayGoTo(t *testing.T) {
	tr := &Transmitter{cfg: Config{AllowedPrefixes: []netip.Prefix{netip.MustParsePrefix("127.0.0.2/32"), netip.MustParsePrefix("::1/128")}}}
	long := "https://1.1.1.1/" + strings.Repeat("x", maxURI-len("https://1.1.1.1/"))
	for _, endpoint := range []string{"https://1.1.1.1/events", "https://1.1.1.1:8443", "https://[2606:4700:4700::1111]/", long,
		"http://127.0.0.2:8080/events", "https://127.0.0.2/", "http://[::1]/"} {
		if err := tr.checkEndpoint(t.Context(), endpoint); err != nil {
			t.Errorf("%s: %v", endpoint, err)
		}
	}
	for _, endpoint := range []string{"", "/events", "https://", "1.1.1.1", "http://1.1.1.1/", "ftp://1.1.1.1/", "https://user@1.1.1.1/", "https://1.1.1.1/#x", long + "x",
		"https://127.0.0.1/", "https://127.0.0.3/", "https://10.0.0.1/", "https://192.168.1.1/", "https://169.254.169.254/latest/meta-data", "https://[fd00::1]/",
		"https://[::ffff:127.0.0.1]/", "https://0.0.0.0/", "https://nowhere.invalid/"} {
		if err := tr.checkEndpoint(t.Context(), endpoint); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: got %v, want ErrInvalid", endpoint, err)
		}
	}
}
