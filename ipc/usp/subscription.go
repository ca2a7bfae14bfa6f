package usp

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/smmd-project/smmd/ipc/client"
	dm "github.com/smmd-project/smmd/mapping/datamodel"
)

// notifTypes are the values of Subscription.{i}.NotifType. Nothing is ever told of the last one.
var notifTypes = []string{
	client.USPValueChange, client.USPObjectCreation, client.USPObjectDeletion, client.USPOperationComplete, client.USPEvent, "OnBoardRequest",
}

// maxSubscriptions is how many subscriptions a session keeps.
const maxSubscriptions = 1000

// settings are the parameters of a subscription that can be set (TR-181, LocalAgent.Subscription.{i}.).
type settings struct {
	Alias, ID, NotifType, ReferenceList string
	Enable, Persistent, NotifRetry      bool
	TimeToLive, NotifExpiration         int // s
}

// A subscription is what the Broker wants to be told. It is not changed once others can see it.
type subscription struct {
	number  uint32
	created time.Time
	expires time.Time // zero: never
	settings
	references []reference
}

// remaining returns the seconds that are left of the life of a subscription, 0 for one that does not end.
func (s *subscription) remaining(now time.Time) int64 {
	if s.expires.IsZero() {
		return 0
	}
	return int64(math.Ceil(max(s.expires.Sub(now), time.Second).Seconds()))
}

func (s *subscription) path() string {
	return subscriptionTable + strconv.FormatUint(uint64(s.number), 10) + "."
}

// apply sets one parameter.
func (s *subscription) apply(name, text string, now time.Time) *failure {
	i := slices.IndexFunc(subscriptionModel.Parameters, func(p *dm.Parameter[localRow]) bool { return p.Name == name })
	if i < 0 {
		return failf(codeUnsupported, "cannot set %s: a subscription has no such parameter", name)
	}
	p := subscriptionModel.Parameters[i]
	if !p.Writable() {
		return failf(codeReadOnly, "cannot set %s: it is read-only", name)
	}
	v, err := p.Parse(text)
	if err != nil {
		return &failure{code: codeInvalidValue, text: err.Error()}
	}
	switch name {
	case "Alias":
		s.Alias = v.(string)
	case "ID":
		s.ID = v.(string)
	case "NotifType":
		s.NotifType = v.(string)
	case "ReferenceList":
		s.ReferenceList = v.(string)
	case "Enable":
		s.Enable = v.(bool)
	case "Persistent":
		s.Persistent = v.(bool)
	case "NotifRetry":
		s.NotifRetry = v.(bool)
	case "NotifExpiration":
		s.NotifExpiration = v.(int)
	case "TimeToLive":
		s.TimeToLive, s.expires = v.(int), time.Time{}
		if s.TimeToLive > 0 {
			s.expires = now.Add(time.Duration(s.TimeToLive) * time.Second)
		}
	}
	return nil
}

// finish makes a subscription fit for use: what is set must make sense as a whole.
func (s *subscription) finish() *failure {
	switch {
	case s.NotifType == "":
		return failf(codeMissing, "cannot create the subscription: NotifType is missing")
	case s.ReferenceList == "":
		return failf(codeMissing, "cannot create the subscription: ReferenceList is missing")
	}
	s.references = nil
	for _, item := range dm.Items(s.ReferenceList) {
		s.references = append(s.references, newReference(item, s.NotifType))
	}
	return nil
}

// subscriptions is the table of a session.
type subscriptions struct {
	mu      sync.Mutex
	rows    map[uint32]*subscription
	last    uint32        // the last number given
	changed chan struct{} // one element: the table has changed
}

func newSubscriptions() *subscriptions {
	return &subscriptions{rows: map[uint32]*subscription{}, changed: make(chan struct{}, 1)}
}

// list returns the rows by their numbers. Those whose time is over go.
func (t *subscriptions) list() []*subscription {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	maps.DeleteFunc(t.rows, func(_ uint32, s *subscription) bool { return !s.expires.IsZero() && !now.Before(s.expires) })
	list := make([]*subscription, 0, len(t.rows))
	for _, n := range slices.Sorted(maps.Keys(t.rows)) {
		list = append(list, t.rows[n])
	}
	return list
}

// A draft is the table as it will be. Only the one who changes the table, in turn, makes drafts.
type draft struct {
	rows    map[uint32]*subscription
	last    uint32
	changed bool
}

func (t *subscriptions) draft() *draft {
	t.list()
	t.mu.Lock()
	defer t.mu.Unlock()
	return &draft{rows: maps.Clone(t.rows), last: t.last}
}

// commit makes a draft the table.
func (t *subscriptions) commit(d *draft) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rows, t.last = d.rows, d.last
	select {
	case t.changed <- struct{}{}:
	default:
	}
}

// setting is one parameter of an Add or a Set.
type setting struct {
	name, value string
	required    bool
}

// add creates a row. The parameters that could not be set and are not required are in the list.
func (d *draft) add(list []setting, now time.Time) (*subscription, []paramFailure, *failure) {
	if len(d.rows) >= maxSubscriptions {
		return nil, nil, failf(codeExceeded, "cannot create a subscription: there are %d already", len(d.rows))
	}
	s := &subscription{number: d.last + 1, created: now}
	n := strconv.FormatUint(uint64(s.number), 10)
	s.Alias, s.ID = "cpe-"+n, "cpe-"+n
	errs, f := d.put(s, list, now)
	if f != nil {
		return nil, nil, f
	}
	d.last++
	return s, errs, nil
}

// update changes a row. What could not be set is as with add.
func (d *draft) update(old *subscription, list []setting, now time.Time) (*subscription, []paramFailure, *failure) {
	s := *old
	errs, f := d.put(&s, list, now)
	if f != nil {
		return nil, nil, f
	}
	return &s, errs, nil
}

// put applies settings and puts the row into the draft.
func (d *draft) put(s *subscription, list []setting, now time.Time) ([]paramFailure, *failure) {
	var errs, fatal []paramFailure
	for _, one := range list {
		if f := s.apply(one.name, one.value, now); f != nil {
			errs = append(errs, paramFailure{one.name, f.code, f.text})
			if one.required {
				fatal = append(fatal, paramFailure{s.path() + one.name, f.code, f.text})
			}
		}
	}
	if len(fatal) > 0 {
		return nil, &failure{code: codeMissing, text: fatal[0].text, params: fatal}
	}
	if f := s.finish(); f != nil {
		return nil, f
	}
	for _, other := range d.rows {
		if other.number != s.number && (other.ID == s.ID || other.Alias == s.Alias) {
			return nil, failf(codeDuplicate, "cannot have the subscription: %s has its ID or Alias", strings.TrimSuffix(other.path(), "."))
		}
	}
	d.rows[s.number] = s
	return errs, nil
}

// checkReferences checks the value of a ReferenceList.
func checkReferences(list string) error {
	items := dm.Items(list)
	if len(items) == 0 {
		return errors.New("it is empty")
	}
	for _, item := range items {
		p, err := dm.ParsePath(item, dm.USP)
		if err != nil || len(p.Segments) == 0 || p.Segments[0].Text != "Device" {
			return fmt.Errorf("%q is no path", item)
		}
	}
	return nil
}
