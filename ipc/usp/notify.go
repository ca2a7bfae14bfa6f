package usp

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/ipc/client"
	"github.com/smmd-project/smmd/ipc/usp/usppb"
)

// A follower tells the Broker the news of the agent.
type follower struct {
	s     *session
	began uint64 // the greatest number when the session began: what is not kept by the agent and older than that is not told
	last  uint64 // the last one that was told, or that nobody wanted
	owed  bool   // something up to last is kept by the agent and not acknowledged
}

// begin learns where the news of this session begin. It is called before the registration.
func (f *follower) begin(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, f.s.s.times.request)
	defer cancel()
	list, err := f.s.agent.USPNotifications(ctx, 0)
	if len(list) > 0 {
		f.began = list[len(list)-1].ID
	}
	return err
}

// run tells the news until the session ends.
func (f *follower) run(ctx context.Context) error {
	s := f.s
	// What waits is for subscriptions that the Broker is about to make.
	if err := s.settle(ctx); err != nil {
		return err
	}
	return s.agent.WatchUSPNotifications(ctx, func(id uint64) error {
		if id == 0 {
			if err := s.sameAgent(ctx); err != nil {
				return err
			}
		}
		err := f.deliver(ctx)
		if errors.Is(err, client.ErrUnreachable) && ctx.Err() == nil {
			s.log.Warn("the agent is away; what it has to tell waits", "err", err)
			return nil // its return is told, as is the end of the bus
		}
		return err
	})
}

// settle waits until the Broker has made no subscription for a while.
func (s *session) settle(ctx context.Context) error {
	quiet := time.NewTimer(s.s.times.settle)
	defer quiet.Stop()
	enough := time.NewTimer(s.s.times.settleMax)
	defer enough.Stop()
	for {
		select {
		case <-s.subs.changed:
			quiet.Reset(s.s.times.settle)
		case <-quiet.C:
			return nil
		case <-enough.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// sameAgent ends the session when another version of the agent is on the bus: its data model may be another one, which the Broker learns at
// the registration only.
func (s *session) sameAgent(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.s.times.request)
	defer cancel()
	now, err := s.agent.Info(ctx)
	switch {
	case errors.Is(err, client.ErrUnreachable):
		return nil // it is away again
	case err != nil:
		return err
	case now.Version != s.info.Version || now.DataModel != s.info.DataModel:
		return fmt.Errorf("the agent is another one now: version %s with %s instead of %s with %s", now.Version, now.DataModel, s.info.Version, s.info.DataModel)
	}
	return nil
}

// deliver tells what is new, in order, and acknowledges what the agent keeps.
func (f *follower) deliver(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, f.s.s.times.request)
	defer cancel()
	list, err := f.s.agent.USPNotifications(limited, f.last)
	if err != nil {
		return f.forgotten(err)
	}
	if err := f.tellAll(ctx, list); err != nil || !f.owed {
		return err
	}
	limited, cancel = context.WithTimeout(ctx, f.s.s.times.request)
	defer cancel()
	if err := f.s.agent.USPAcknowledgeNotifications(limited, f.last); err != nil {
		return f.forgotten(err)
	}
	f.owed = false
	return nil
}

// forgotten says what it means that the agent has never given the number up to which its news are told: it has lost its state, and counts
// anew. The session ends with it; the next one begins with the first number there is, and the Broker reads what is there.
func (f *follower) forgotten(err error) error {
	if e := (*client.Error)(nil); errors.As(err, &e) && e.Name == fault.InvalidArguments.Name() {
		return fmt.Errorf("the agent has lost its state: %w", err)
	}
	return err
}

// tellAll tells notifications in their order.
func (f *follower) tellAll(ctx context.Context, list []client.USPNotification) error {
	subs := f.s.subs.list()
	asked := map[string][]string{}
	objects := func(ask string) []string {
		if _, ok := asked[ask]; !ok {
			asked[ask] = f.s.remember(ctx, ask)
		}
		return asked[ask]
	}
	for _, n := range list {
		if kept(n.Kind) || n.ID > f.began {
			if err := f.tell(subs, n, objects); err != nil {
				return err
			}
		}
		f.last, f.owed = n.ID, f.owed || kept(n.Kind)
	}
	if len(list) == 0 {
		return nil
	}
	for _, sub := range subs { // what is there now counts when it is gone
		for _, r := range sub.references {
			if r.ask != "" {
				objects(r.ask)
			}
		}
	}
	return nil
}

// kept reports whether the agent keeps notifications of that kind until they are acknowledged.
func kept(kind string) bool { return kind == client.USPEvent || kind == client.USPOperationComplete }

// tell sends one notification to every subscription that it matches.
func (f *follower) tell(subs []*subscription, n client.USPNotification, objects func(string) []string) error {
	path := newsPath(n)
	if n.Kind == client.USPOperationComplete {
		f.s.operating.Lock() // the answer to its Operate is written first
		defer f.s.operating.Unlock()
	}
	for _, sub := range subs {
		if !sub.Enable || sub.NotifType != n.Kind {
			continue
		}
		if !slices.ContainsFunc(sub.references, func(r reference) bool { return r.covers(path, objects) }) {
			continue
		}
		m := notify(n)
		m.SubscriptionId = sub.ID // send_resp stays false: the Broker takes nothing else, and whether a controller is told again is its part
		id := f.s.nextID()
		if err := f.s.send(f.s.broker, request(id, usppb.Header_NOTIFY, &usppb.Request{ReqType: &usppb.Request_Notify{Notify: m}})); err != nil {
			return err
		}
		f.s.log.Debug("told the broker", "msg_id", id, "subscription", sub.ID, "kind", n.Kind, "path", path, "notification", n.ID)
	}
	return nil
}

// newsPath returns the path that a ReferenceList is compared with.
func newsPath(n client.USPNotification) string {
	switch n.Kind {
	case client.USPEvent:
		return n.Object + n.Event
	case client.USPOperationComplete:
		return n.Object + n.Command
	case client.USPValueChange:
		return n.Parameter
	}
	return n.Object
}

// notify says a notification in the words of TR-369.
func notify(n client.USPNotification) *usppb.Notify {
	switch n.Kind {
	case client.USPEvent:
		return &usppb.Notify{Notification: &usppb.Notify_Event_{Event: &usppb.Notify_Event{
			ObjPath: n.Object, EventName: n.Event, Params: n.Arguments,
		}}}
	case client.USPValueChange:
		return &usppb.Notify{Notification: &usppb.Notify_ValueChange_{ValueChange: &usppb.Notify_ValueChange{
			ParamPath: n.Parameter, ParamValue: n.Value,
		}}}
	case client.USPObjectCreation:
		return &usppb.Notify{Notification: &usppb.Notify_ObjCreation{ObjCreation: &usppb.Notify_ObjectCreation{
			ObjPath: n.Object, UniqueKeys: n.UniqueKeys,
		}}}
	case client.USPObjectDeletion:
		return &usppb.Notify{Notification: &usppb.Notify_ObjDeletion{ObjDeletion: &usppb.Notify_ObjectDeletion{ObjPath: n.Object}}}
	}
	done := &usppb.Notify_OperationComplete{ObjPath: n.Object, CommandName: n.Command, CommandKey: n.CommandKey}
	if n.Code != 0 {
		done.OperationResp = &usppb.Notify_OperationComplete_CmdFailure{CmdFailure: &usppb.Notify_OperationComplete_CommandFailure{
			ErrCode: n.Code, ErrMsg: n.Text,
		}}
	} else {
		done.OperationResp = &usppb.Notify_OperationComplete_ReqOutputArgs{ReqOutputArgs: &usppb.Notify_OperationComplete_OutputArgs{OutputArgs: n.Outputs}}
	}
	return &usppb.Notify{Notification: &usppb.Notify_OperComplete{OperComplete: done}}
}
