package usp

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/smmd-project/smmd/ipc/client"
	dm "github.com/smmd-project/smmd/mapping/datamodel"
)

// The objects that a session serves itself.
const (
	localAgent        = "Device.LocalAgent."
	subscriptionTable = "Device.LocalAgent.Subscription."
	requestTable      = "Device.LocalAgent.Request."
)

// isLocal reports whether a path is about the objects of this package.
func isLocal(path string) bool { return strings.HasPrefix(path, localAgent) }

// isAbove reports whether a path is above the objects of this package as well as above those of the agent.
func isAbove(path string) bool { return path == "Device." }

// tables is what Device.LocalAgent. holds at the moment of one request.
type tables struct {
	subs     []*subscription // by their instance numbers
	requests []localRequest  // by their instance numbers
}

// localRequest is a row of Device.LocalAgent.Request.{i}.
type localRequest struct {
	number uint32 // that of the job
	client.USPRequest
}

// requestNumber returns the number of the Request that a job is, 0 when the path is none of a job.
func requestNumber(job string) uint32 {
	n, err := strconv.ParseUint(job[strings.LastIndexByte(job, '/')+1:], 10, 32)
	if err != nil {
		return 0
	}
	return uint32(n)
}

// requestPath returns the path of the Request that a job is.
func requestPath(job string) string {
	return requestTable + strconv.FormatUint(uint64(requestNumber(job)), 10) + "."
}

// tables asks for the commands that go on, when the path may be about them.
func (s *session) tables(ctx context.Context, path string) (*tables, error) {
	t := &tables{subs: s.subs.list()}
	if strings.HasPrefix(path, subscriptionTable) {
		return t, nil
	}
	list, err := s.agent.USPRequests(ctx)
	if err != nil {
		return nil, err
	}
	for _, r := range list {
		t.requests = append(t.requests, localRequest{requestNumber(string(r.Job)), r})
	}
	slices.SortFunc(t.requests, func(a, b localRequest) int { return cmp.Compare(a.number, b.number) })
	return t, nil
}

// localRow is a row of the schema below: one of the two pointers, or neither.
type localRow struct {
	*tables
	sub *subscription
	req *localRequest
}

// localModel is the part of TR-181 that a session serves itself, as the data model has it for the Agent of a USP Service.
var localModel = &dm.Object[localRow]{Objects: []*dm.Object[localRow]{{Name: "Device", Objects: []*dm.Object[localRow]{{
	Name: "LocalAgent", Since: "2.12",
	Parameters: []*dm.Parameter[localRow]{
		{Name: "RequestNumberOfEntries", Type: dm.UnsignedInt, Since: "2.12", Int: func(r localRow) int64 { return int64(len(r.requests)) }},
		{Name: "SubscriptionNumberOfEntries", Type: dm.UnsignedInt, Since: "2.12", Int: func(r localRow) int64 { return int64(len(r.subs)) }},
	},
	Objects: []*dm.Object[localRow]{requestModel, subscriptionModel},
}}}}}

var requestModel = &dm.Object[localRow]{
	Name: "Request", Since: "2.12",
	Table: &dm.Table[localRow]{
		Rows: func(r localRow) iter.Seq2[uint32, localRow] {
			return func(yield func(uint32, localRow) bool) {
				for i := range r.requests {
					if !yield(r.requests[i].number, localRow{tables: r.tables, req: &r.requests[i]}) {
						return
					}
				}
			}
		},
		Row: func(r localRow, n uint32) (localRow, bool) {
			i := slices.IndexFunc(r.requests, func(q localRequest) bool { return q.number == n })
			if i < 0 {
				return localRow{}, false
			}
			return localRow{tables: r.tables, req: &r.requests[i]}, true
		},
	},
	Parameters: []*dm.Parameter[localRow]{
		{Name: "Originator", Type: dm.String, Since: "2.12", Text: func(r localRow) string { return r.req.Originator }},
		{Name: "Command", Type: dm.String, Since: "2.12", Text: func(r localRow) string { return r.req.Command }},
		{Name: "CommandKey", Type: dm.String, Since: "2.12", Text: func(r localRow) string { return r.req.CommandKey }},
		{Name: "Status", Type: dm.String, Since: "2.12", Text: func(r localRow) string { return r.req.Status }},
	},
	UniqueKeys: [][]string{{"Originator", "Command", "CommandKey"}},
	Commands:   []*dm.Command{{Name: "Cancel()", Since: "2.12"}},
}

var subscriptionModel = &dm.Object[localRow]{
	Name: "Subscription", Since: "2.12",
	Table: &dm.Table[localRow]{
		Rows: func(r localRow) iter.Seq2[uint32, localRow] {
			return func(yield func(uint32, localRow) bool) {
				for _, sub := range r.subs {
					if !yield(sub.number, localRow{tables: r.tables, sub: sub}) {
						return
					}
				}
			}
		},
		Row: func(r localRow, n uint32) (localRow, bool) {
			i := slices.IndexFunc(r.subs, func(s *subscription) bool { return s.number == n })
			if i < 0 {
				return localRow{}, false
			}
			return localRow{tables: r.tables, sub: r.subs[i]}, true
		},
	},
	Parameters: []*dm.Parameter[localRow]{
		{Name: "Alias", Type: dm.String, Length: 64, Since: "2.12", Attribute: "Alias", Check: notEmpty, Text: func(r localRow) string { return r.sub.Alias }},
		{Name: "Enable", Type: dm.Boolean, Since: "2.12", Attribute: "Enable", Bool: func(r localRow) bool { return r.sub.Enable }},
		{Name: "Recipient", Type: dm.String, Since: "2.12", Text: func(localRow) string { return "" }}, // the Broker's controllers are not known here
		{Name: "ID", Type: dm.String, Length: 64, Since: "2.12", Attribute: "ID", Check: notEmpty, Text: func(r localRow) string { return r.sub.ID }},
		{Name: "CreationDate", Type: dm.DateTime, Since: "2.12", Time: func(r localRow) time.Time { return r.sub.created }},
		{Name: "NotifType", Type: dm.String, Enum: notifTypes, Since: "2.12", Attribute: "NotifType", Text: func(r localRow) string { return r.sub.NotifType }},
		{Name: "ReferenceList", Type: dm.String, List: true, Since: "2.12", Attribute: "ReferenceList", Check: checkReferences, Text: func(r localRow) string { return r.sub.ReferenceList }},
		{Name: "Persistent", Type: dm.Boolean, Since: "2.12", Attribute: "Persistent", Bool: func(r localRow) bool { return r.sub.Persistent }},
		{Name: "TimeToLive", Type: dm.UnsignedInt, Unit: "seconds", Since: "2.12", Attribute: "TimeToLive", Int: func(r localRow) int64 { return r.sub.remaining(time.Now()) }},
		{Name: "NotifRetry", Type: dm.Boolean, Since: "2.12", Attribute: "NotifRetry", Bool: func(r localRow) bool { return r.sub.NotifRetry }},
		{Name: "NotifExpiration", Type: dm.UnsignedInt, Unit: "seconds", Since: "2.12", Attribute: "NotifExpiration", Int: func(r localRow) int64 { return int64(r.sub.NotifExpiration) }},
	},
	UniqueKeys: [][]string{{"Alias"}, {"ID", "Recipient"}},
}

func notEmpty(text string) error {
	if text == "" {
		return errors.New("it is empty")
	}
	return nil
}

// resolve returns what a path stands for.
func (t *tables) resolve(path string) ([]dm.Node[localRow], *failure) {
	p, err := dm.ParsePath(path, dm.USP)
	if err != nil {
		return nil, localFailure(err)
	}
	nodes, err := dm.Resolve(localModel, localRow{tables: t}, p, dm.ForGet)
	if err != nil {
		return nil, localFailure(err)
	}
	return nodes, nil
}

func localFailure(err error) *failure {
	code := uint32(codeInvalidPath)
	switch {
	case errors.Is(err, dm.ErrSyntax):
		code = codePathSyntax
	case errors.Is(err, dm.ErrNoInstance):
		code = codeNoObject
	}
	return &failure{code: code, text: err.Error()}
}

// get returns the objects that a path stands for, as [client.Client.USPGet] does.
func (t *tables) get(path string, maxDepth uint32) client.USPGetResult {
	result := client.USPGetResult{Requested: path}
	nodes, f := t.resolve(path)
	if f != nil {
		if f.code == codeNoObject {
			f.code = codeInvalidPath // to a Get it is the same
		}
		result.USPError = client.USPError{Code: f.code, Text: f.text}
		return result
	}
	at := map[string]int{}
	put := func(object string, p dm.Node[localRow]) {
		i, ok := at[object]
		if !ok {
			i = len(result.Objects)
			at[object] = i
			result.Objects = append(result.Objects, client.USPObject{Path: object, Parameters: map[string]string{}})
		}
		result.Objects[i].Parameters[p.Parameter.Name] = p.Parameter.Value(p.Row)
	}
	for _, n := range nodes {
		for found := range n.All() {
			if found.Parameter == nil {
				continue
			}
			object := strings.TrimSuffix(found.Path, found.Parameter.Name)
			if below := strings.Count(strings.TrimPrefix(object, n.Path), "."); n.Parameter == nil && maxDepth > 0 && below >= int(maxDepth) {
				continue
			}
			put(object, found)
		}
	}
	return result
}

// getInstances returns the rows of the tables at a path, as [client.Client.USPGetInstances] does.
func (t *tables) getInstances(path string) client.USPGetResult {
	result := client.USPGetResult{Requested: path}
	nodes, f := t.resolve(path)
	if f == nil && slices.ContainsFunc(nodes, func(n dm.Node[localRow]) bool { return n.Parameter != nil || n.Command != nil || n.Event != nil }) {
		f = failf(codeNoTable, "cannot list the rows of %s: it is no table", path)
	}
	if f != nil {
		result.USPError = client.USPError{Code: f.code, Text: f.text}
		return result
	}
	for _, n := range nodes {
		for found := range n.All() {
			if found.Object.Table == nil || found.Table || found.Parameter != nil || found.Path == n.Path {
				continue // not a row, or the one that was named
			}
			result.Objects = append(result.Objects, client.USPObject{Path: found.Path, Parameters: uniqueKeys(found)})
		}
	}
	return result
}

// uniqueKeys returns the values of the parameters that a row can be told by.
func uniqueKeys(n dm.Node[localRow]) map[string]string {
	keys := map[string]string{}
	for _, set := range n.Object.UniqueKeys {
		for _, p := range n.Object.Parameters {
			if slices.Contains(set, p.Name) {
				keys[p.Name] = p.Value(n.Row)
			}
		}
	}
	return keys
}
