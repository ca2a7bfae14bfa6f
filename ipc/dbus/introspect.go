package dbus

import (
	"bytes"
	encoding "encoding/xml"
	"fmt"
	"strconv"
	"strings"

	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/ipc/xml"
)

const doctype = `<!DOCTYPE node PUBLIC "-//freedesktop//DTD D-BUS Object Introspection 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/introspect.dtd">
`

// node is the answer to Introspect.
type node struct {
	XMLName    encoding.Name    `xml:"node"`
	Name       string           `xml:"name,attr,omitempty"`
	Interfaces []*xml.Interface `xml:"interface"`
	Children   []node           `xml:"node"`
}

func introspect(c *call) ([]any, error) {
	n := node{Children: children(c.agent.Snapshot(), string(c.object.path))}
	for _, name := range c.object.ifaces {
		n.Interfaces = append(n.Interfaces, xml.Lookup(name))
	}
	var b bytes.Buffer
	b.WriteString(doctype)
	e := encoding.NewEncoder(&b)
	e.Indent("", "  ")
	if err := e.Encode(n); err != nil {
		return nil, fmt.Errorf("cannot describe %s: %w", c.object.path, err)
	}
	return []any{b.String()}, nil
}

// children returns what is directly below a path.
func children(s *model.Snapshot, path string) []node {
	var list []node
	switch rest, above := strings.CutPrefix(xml.Root, strings.TrimSuffix(path, "/")+"/"); {
	case above:
		first, _, _ := strings.Cut(rest, "/")
		return []node{{Name: first}}
	case path == xml.Root:
		for _, k := range xml.Kinds {
			list = append(list, node{Name: string(k)})
		}
	default:
		kind := model.Kind(strings.TrimPrefix(path, xml.Root+"/"))
		for ref := range rows(s, kind) {
			list = append(list, node{Name: strconv.FormatUint(uint64(ref.Instance), 10)})
		}
	}
	return list
}
