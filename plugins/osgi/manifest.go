package osgi

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// maxManifest bounds what is read of META-INF/MANIFEST.MF, in bytes. The largest manifests seen, with thousands of imported
// packages, have a few hundred KiB.
const maxManifest = 4 << 20

// parseManifest returns the main section of a JAR manifest (JAR File Specification, "JAR Manifest"): the headers by their
// names in lower case, because names are compared without regard to case. A header given twice has its last value, as
// java.util.jar.Manifest sees it.
func parseManifest(data []byte) (map[string]string, error) {
	if len(data) > maxManifest {
		return nil, fmt.Errorf("manifest has more than %d bytes", maxManifest)
	}
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	headers := map[string]string{}
	var name string
	var value []byte // gathered as bytes: a character may be split over the end of a line
	flush := func() error {
		if name == "" {
			return nil
		}
		if !utf8.Valid(value) {
			return fmt.Errorf("header %s is not UTF-8", name)
		}
		headers[strings.ToLower(name)] = string(value)
		name, value = "", nil
		return nil
	}
	for number := 1; len(data) > 0; number++ {
		var line []byte
		line, data = cutLine(data)
		if len(line) == 0 {
			if len(headers) == 0 && name == "" {
				continue // blank lines before the first header are harmless
			}
			break
		}
		if line[0] == ' ' {
			if name == "" {
				return nil, fmt.Errorf("line %d continues nothing", number)
			}
			value = append(value, line[1:]...)
			continue
		}
		if err := flush(); err != nil {
			return nil, err
		}
		colon := bytes.IndexByte(line, ':')
		if colon < 1 || !headerName(line[:colon]) || colon+1 < len(line) && line[colon+1] != ' ' {
			return nil, fmt.Errorf("line %d is no header", number)
		}
		name = string(line[:colon])
		if colon+2 < len(line) {
			value = append(value, line[colon+2:]...)
		}
	}
	return headers, flush()
}

// cutLine splits off the first line, which CR LF, LF or CR ends.
func cutLine(data []byte) (line, rest []byte) {
	i := bytes.IndexAny(data, "\r\n")
	if i < 0 {
		return data, nil
	}
	if data[i] == '\r' && i+1 < len(data) && data[i+1] == '\n' {
		return data[:i], data[i+2:]
	}
	return data[:i], data[i+1:]
}

func headerName(b []byte) bool {
	for _, c := range b {
		if !alphanumeric(c) && c != '-' && c != '_' {
			return false
		}
	}
	return len(b) <= 70
}

func alphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// symbolicName returns the name in a Bundle-SymbolicName header without its attributes and directives (OSGi Core 3.2.1).
func symbolicName(header string) (string, error) {
	name, _, _ := strings.Cut(header, ";")
	name = strings.TrimSpace(name)
	for i := range len(name) {
		if c := name[i]; !alphanumeric(c) && !strings.ContainsRune("._-", rune(c)) {
			return "", fmt.Errorf("symbolic name %q is malformed", name)
		}
	}
	return name, nil
}

// normalVersion returns an OSGi version in full, as a framework shows it (OSGi Core 3.2.5): "1" is "1.0.0".
func normalVersion(s string) (string, error) {
	s = strings.TrimSpace(s)
	if s == "" {
		return "0.0.0", nil
	}
	parts := strings.SplitN(s, ".", 4)
	full := []string{"0", "0", "0"}
	for i, part := range parts {
		if i == 3 {
			break
		}
		n, err := strconv.ParseUint(part, 10, 31)
		if err != nil {
			return "", fmt.Errorf("version %q is malformed", s)
		}
		full[i] = strconv.FormatUint(n, 10)
	}
	if len(parts) == 4 {
		qualifier := parts[3]
		for i := range len(qualifier) {
			if c := qualifier[i]; !alphanumeric(c) && c != '_' && c != '-' {
				return "", fmt.Errorf("version %q is malformed", s)
			}
		}
		if qualifier == "" {
			return "", fmt.Errorf("version %q is malformed", s)
		}
		full = append(full, qualifier)
	}
	return strings.Join(full, "."), nil
}

// parseProperties reads a file as java.util.PropertyResourceBundle does: UTF-8, or ISO 8859-1 if it is not that, with \uXXXX escapes; a malformed
// escape makes the whole file unreadable, which is nil.
func parseProperties(data []byte) map[string]string {
	if !utf8.Valid(data) {
		var text []byte
		for _, b := range data {
			text = utf8.AppendRune(text, rune(b))
		}
		data = text
	}
	properties := map[string]string{}
	for len(data) > 0 {
		var logical []byte
		for first := true; ; first = false {
			var line []byte
			line, data = cutLine(data)
			line = bytes.TrimLeft(line, " \t\f")
			if first && (len(line) == 0 || line[0] == '#' || line[0] == '!') {
				break
			}
			slashes := len(line) - len(bytes.TrimRight(line, `\`))
			if slashes%2 == 0 {
				logical = append(logical, line...)
				break
			}
			logical = append(logical, line[:len(line)-1]...)
			if len(data) == 0 {
				break
			}
		}
		if len(logical) > 0 {
			key, value, ok := splitProperty(logical)
			if !ok {
				return nil
			}
			properties[key] = value
		}
	}
	return properties
}

// splitProperty splits a logical line at the first '=', ':' or blank that is not escaped.
func splitProperty(line []byte) (key, value string, ok bool) {
	end := 0
	for end < len(line) && !bytes.ContainsRune([]byte("=: \t\f"), rune(line[end])) {
		if line[end] == '\\' {
			end++
		}
		end++
	}
	end = min(end, len(line))
	rest := bytes.TrimLeft(line[end:], " \t\f")
	if len(rest) > 0 && (rest[0] == '=' || rest[0] == ':') {
		rest = bytes.TrimLeft(rest[1:], " \t\f")
	}
	key, ok = unescape(line[:end])
	value, valueOK := unescape(rest)
	return key, value, ok && valueOK
}

// unescape turns UTF-8 with Java escapes into a string; not ok: a \u is malformed.
func unescape(b []byte) (text string, ok bool) {
	var units []uint16
	for i := 0; i < len(b); i++ {
		if b[i] != '\\' || i+1 == len(b) {
			r, n := utf8.DecodeRune(b[i:])
			units = utf16.AppendRune(units, r)
			i += n - 1
			continue
		}
		i++
		switch b[i] {
		case 't':
			units = append(units, '\t')
		case 'n':
			units = append(units, '\n')
		case 'r':
			units = append(units, '\r')
		case 'f':
			units = append(units, '\f')
		case 'u':
			if i+5 > len(b) {
				return "", false
			}
			n, err := strconv.ParseUint(string(b[i+1:i+5]), 16, 16)
			if err != nil {
				return "", false
			}
			units = append(units, uint16(n))
			i += 4
		default:
			r, n := utf8.DecodeRune(b[i:])
			units = utf16.AppendRune(units, r)
			i += n - 1
		}
	}
	return string(utf16.Decode(units)), true
}
