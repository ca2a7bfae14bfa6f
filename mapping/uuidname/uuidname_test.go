package uuidname_test

import (
	"strings"
	"testing"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/mapping/uuidname"
)

// The values were made with an independent implementation of RFC 4122 (Python's uuid module).
func TestNew(t *testing.T) {
	for _, tc := range []struct{ name, vendor, text, v5, v3 string }{
		{
			"sample1", "broadband-forum.org", "sample1.broadband-forum.org.",
			"fe2d23bd-dd02-51b8-af04-f5c18b2b0aa6", "2a68e9bf-3e8a-320c-9c4f-3fd9d71f6d87",
		},
		{
			"sample.1", "broadband-forum.org", "sample%2e1.broadband-forum.org.",
			"0fbf4583-efd7-51b6-8483-7b347f4b521d", "3de166ae-89f3-3302-95ce-87f80967c5af",
		},
	} {
		if got := uuidname.Text(tc.name, tc.vendor); got != tc.text {
			t.Errorf("Text(%q, %q) = %q, want %q", tc.name, tc.vendor, got, tc.text)
		}
		for version, want := range map[int]string{uuidname.Version5: tc.v5, uuidname.Version3: tc.v3} {
			got, err := uuidname.New(version, tc.name, tc.vendor)
			if err != nil || got != want {
				t.Errorf("New(%d, %q, %q) = %s, %v, want %s", version, tc.name, tc.vendor, got, err, want)
			}
			if _, err := uuidname.Parse(got); err != nil {
				t.Errorf("Parse refuses what New made: %v", err)
			}
		}
	}
	if _, err := uuidname.New(4, "a", "b"); fault.ReasonOf(err) != fault.InvalidArguments {
		t.Errorf("New of version 4: %v, want an error of class %s", err, fault.InvalidArguments)
	}
}

func TestText(t *testing.T) {
	for _, tc := range []struct{ name, vendor, want string }{
		{"a_B-9", "x", "a_B-9.x."},
		{"com.example.Über", "Ü.example", "com%2eexample%2e%c3%9cber.Ü.example."}, // the vendor is used as it is
		{"a b%", "", "a%20b%25.."},
		{"", "", ".."},
		{"/+~", "v", "%2f%2b%7e.v."},
	} {
		if got := uuidname.Text(tc.name, tc.vendor); got != tc.want {
			t.Errorf("Text(%q, %q) = %q, want %q", tc.name, tc.vendor, got, tc.want)
		}
	}
}

func TestParse(t *testing.T) {
	for _, s := range []string{
		"fe2d23bd-dd02-51b8-af04-f5c18b2b0aa6", "FE2D23BD-DD02-51B8-AF04-F5C18B2B0AA6",
		"76183ed7-6a38-3890-66ef-a6488efb6690", // of no RFC 4122 variant, printed in Annex C
		"00000000-0000-5000-b000-000000000001", "00000000-0000-0000-0000-000000000000",
	} {
		if got, err := uuidname.Parse(s); err != nil || got != strings.ToLower(s) {
			t.Errorf("Parse(%q) = %q, %v", s, got, err)
		}
	}
	for _, s := range []string{
		"", "x", "fe2d23bd-dd02-51b8-af04-f5c18b2b0aa", "fe2d23bd-dd02-51b8-af04-f5c18b2b0aa66",
		"fe2d23bddd0251b8af04f5c18b2b0aa6", "{fe2d23bd-dd02-51b8-af04-f5c18b2b0aa6}",
		"urn:uuid:fe2d23bd-dd02-51b8-af04-f5c18b2b0aa6", "fe2d23bd-dd02-51b8-af04_f5c18b2b0aa6",
		"ge2d23bd-dd02-51b8-af04-f5c18b2b0aa6", " e2d23bd-dd02-51b8-af04-f5c18b2b0aa6",
		"fe2d23b-ddd02-51b8-af04-f5c18b2b0aa6", "é2d23bd-dd02-51b8-af04-f5c18b2b0aa6", strings.Repeat("a", 10000),
	} {
		got, err := uuidname.Parse(s)
		if fault.ReasonOf(err) != fault.InvalidUUID || got != "" {
			t.Errorf("Parse(%.40q) = %q, %v, want an error of class %s", s, got, err, fault.InvalidUUID)
		}
		if err != nil && len(err.Error()) > 400 {
			t.Errorf("the message repeats %d bytes of foreign text", len(err.Error()))
		}
	}
}
