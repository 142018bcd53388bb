#!/usr/bin/env escript
%%! +S 1:1 -kernel logger_level none
%% The real Erlang/OTP supervisor, driven by scripts, for the differential test of supervisors/tree.
%%
%% stdin: one scenario per line, an Erlang term {Tree, Actions}, ended by a full stop. stdout: one line per scenario,
%% its trace: events separated by ";", in the order the supervisors lived through them, then the admin replies.
%%
%% The supervisor is OTP's own code: the abstract code in the debug_info of its beam, loaded under another name with
%%   erlang:monotonic_time(1)   -> the scenario's clock, so that time steps cost no time
%%   exit(Pid, Reason)          -> the same, noted in the trace
%%   unlink_flush(Pid, Reason)  -> the same, its result noted (the reason a stopped child ended with)
%%   restart_child(Pid, Reason) -> the same, the reason noted (a child that ended by itself)
%% and nothing else changed.
-module(oracle).
-mode(compile).
-export([main/1, init/1, clock/0, order/2, ended/2, exited/2, start_worker/3, start_dynamic/3, start_supervisor/2]).

-define(SUPERVISOR, otp_supervisor).
-define(LIMIT, 10000).

main(_) ->
    ok = io:setopts([{encoding, latin1}]),
    case load_supervisor() of
        ok ->
            io:put_chars("ready " ++ erlang:system_info(otp_release) ++ "\n"),
            serve();
        {error, Why} ->
            io:put_chars("unavailable " ++ Why ++ "\n")
    end.

serve() ->
    case io:get_line("") of
        eof -> ok;
        {error, _} -> ok;
        Line ->
            {ok, Tokens, _} = erl_scan:string(Line),
            {ok, Scenario} = erl_parse:parse_term(Tokens),
            {_, Monitor} = spawn_monitor(fun() -> exit({trace, run(Scenario)}) end),
            Out = receive
                      {'DOWN', Monitor, process, _, {trace, Trace}} -> Trace;
                      {'DOWN', Monitor, process, _, Why} -> lists:flatten(io_lib:format("oracle failed ~0p", [Why]))
                  end,
            io:put_chars(Out ++ "\n"),
            serve()
    end.

%% ---------------------------------------------------------------- OTP's code under our clock

load_supervisor() ->
    case beam_lib:chunks(code:which(supervisor), [abstract_code]) of
        {ok, {_, [{abstract_code, {raw_abstract_v1, Forms}}]}} ->
            put(redirected, []),
            New = [form(F) || F <- Forms],
            Seen = lists:usort(get(redirected)),
            [clock, exited, module, order, ended, self] -- Seen =:= [] orelse error({not_found, Seen}),
            1 = length([x || clock <- get(redirected)]),
            1 = length([x || exited <- get(redirected)]),
            {ok, ?SUPERVISOR, Beam} = compile:forms(New, [binary]),
            {module, ?SUPERVISOR} = code:load_binary(?SUPERVISOR, "otp_supervisor", Beam),
            ok;
        _ ->
            {error, "no debug_info in supervisor.beam"}
    end.

form({attribute, L, module, supervisor}) -> saw(module), {attribute, L, module, ?SUPERVISOR};
form({function, _, _, _, _} = F) -> redirect(F);
form(F) -> F.

redirect({call, L, {remote, _, {atom, _, erlang}, {atom, _, monotonic_time}}, [{integer, _, 1}]}) ->
    saw(clock), ours(L, clock, []);
redirect({call, L, {remote, LR, {atom, LM, gen_server}, {atom, LF, start_link}}, Args}) ->
    saw(self),
    Named = [case A of {atom, LA, supervisor} -> {atom, LA, ?SUPERVISOR}; _ -> redirect(A) end || A <- Args],
    {call, L, {remote, LR, {atom, LM, gen_server}, {atom, LF, start_link}}, Named};
redirect({call, L, {atom, _, exit}, [_, _] = Args}) ->
    saw(order), ours(L, order, redirect(Args));
redirect({call, L, {atom, LA, unlink_flush}, [Pid, Reason]}) ->
    saw(ended), ours(L, ended, [redirect(Pid), {call, L, {atom, LA, unlink_flush}, [redirect(Pid), redirect(Reason)]}]);
redirect({call, L, {atom, LA, restart_child}, [Pid, Reason, State]}) ->
    saw(exited), {call, L, {atom, LA, restart_child}, [Pid, ours(L, exited, [Pid, Reason]), State]};
redirect(T) when is_tuple(T) -> list_to_tuple(redirect(tuple_to_list(T)));
redirect([H | T]) -> [redirect(H) | redirect(T)];
redirect(X) -> X.

ours(L, F, Args) -> {call, L, {remote, L, {atom, L, ?MODULE}, {atom, L, F}}, Args}.
saw(What) -> put(redirected, [What | get(redirected)]).

clock() -> ets:lookup_element(world, clock, 2).

order(Pid, How) ->
    Alive = is_process_alive(Pid),
    if Alive -> note(["order ", path_of(Pid), " ", word(How)]); true -> ok end,
    exit(Pid, How).

ended(Pid, Reason) -> note(["end ", path_of(Pid), " ", word(Reason)]), Reason.

exited(Pid, Reason) ->
    case ets:lookup(world, {path, Pid}) of
        [{_, Path}] -> note(["exit ", Path, " ", word(Reason)]);
        [] -> ok %% a supervisor whose own start failed: its start_link has told already
    end,
    Reason.

note(Text) -> ets:insert(trace, {ets:update_counter(world, notes, 1), lists:flatten(Text)}).

word({shutdown, _}) -> "shutdown_x";
word(kill) -> "kill";
word(Reason) when is_atom(Reason) -> atom_to_list(Reason);
word(_) -> "other".

%% ---------------------------------------------------------------- scripted children

init(Path) ->
    ets:insert(world, {{sup, Path}, self()}),
    ets:insert(world, {{path, self()}, Path}),
    {ok, spec_of(Path)}.

spec_of(Path) ->
    case ets:lookup(world, {changed, Path}) of
        [{_, Spec}] -> otp_spec(Path, Spec);
        [] -> [{_, Spec}] = ets:lookup(world, {spec, Path}), otp_spec(Path, Spec)
    end.

otp_spec(Path, {Strategy, Intensity, Period, Auto, Children}) ->
    {#{strategy => Strategy, intensity => Intensity, period => Period, auto_shutdown => Auto},
     [child_spec(Path, Strategy, C) || C <- Children]}.

child_spec(Path, Strategy, {Id, Restart, Shutdown, Type, Significant, Deaf}) ->
    Start = case {Strategy, Type} of
                {simple_one_for_one, _} -> {?MODULE, start_dynamic, [Path, Deaf]};
                {_, worker} -> {?MODULE, start_worker, [Path, Id, Deaf]};
                {_, supervisor} -> {?MODULE, start_supervisor, [Path, Id]}
            end,
    #{id => Id, start => Start, restart => Restart, shutdown => Shutdown, type => Type, significant => Significant}.

%% OTP 25 mishandles a dynamic child that answers ignore when it is restarted (mended later): it never does here.
start_dynamic(Above, Deaf, Name) ->
    Path = Above ++ "/" ++ atom_to_list(Name),
    note(["start ", Path]),
    case scripted(start, Path) of
        fail -> note(["fail ", Path]), {error, boom};
        _ -> start_worker(Path, Deaf)
    end.

start_worker(Above, Id, Deaf) ->
    Path = Above ++ "/" ++ atom_to_list(Id),
    note(["start ", Path]),
    case scripted(start, Path) of
        ok -> start_worker(Path, Deaf);
        fail -> note(["fail ", Path]), {error, boom};
        ignore -> note(["ignore ", Path]), ignore
    end.

start_worker(Path, Deaf) ->
    Self = self(),
    Pid = spawn_link(fun() ->
                         process_flag(trap_exit, true),
                         Self ! {up, self()},
                         live(Path, Self, Deaf)
                     end),
    receive {up, Pid} -> ok end,
    born(Path, Pid),
    {ok, Pid}.

start_supervisor(Above, Id) ->
    Path = Above ++ "/" ++ atom_to_list(Id),
    note(["start ", Path]),
    case scripted(start, Path) of
        ok ->
            case ?SUPERVISOR:start_link(?MODULE, Path) of
                {ok, Pid} -> born(Path, Pid), {ok, Pid};
                {error, Why} ->
                    [ets:delete(world, {path, P}) || {_, P} <- ets:take(world, {sup, Path})],
                    note(["fail ", Path]),
                    {error, Why}
            end;
        fail -> note(["fail ", Path]), {error, boom};
        ignore -> note(["ignore ", Path]), ignore
    end.

born(Path, Pid) ->
    ets:insert(world, {{pid, Path}, Pid}),
    ets:insert(world, {{path, Pid}, Path}).

path_of(Pid) -> ets:lookup_element(world, {path, Pid}, 2).

%% The next scripted outcome of a start or a stop; a held one asks the driver first.
scripted(What, Path) ->
    case ets:lookup(world, {What, Path}) of
        [{_, [hold | Rest]}] ->
            ets:insert(world, {{What, Path}, Rest}),
            ets:lookup_element(world, driver, 2) ! {held, Path, self()},
            receive {release, Outcome} -> Outcome end;
        [{_, [Outcome | Rest]}] -> ets:insert(world, {{What, Path}, Rest}), Outcome;
        _ -> ok
    end.

live(Path, Above, Deaf) ->
    receive
        {die, Reason} -> exit(Reason);
        {'EXIT', Above, shutdown} when Deaf -> live(Path, Above, Deaf);
        {'EXIT', Above, shutdown} ->
            case scripted(stop, Path) of
                ok -> exit(shutdown);
                fail -> exit(crash);
                ignore -> exit(normal)
            end;
        {'EXIT', Above, Reason} -> exit(Reason)
    end.

%% ---------------------------------------------------------------- the driver

run({Tree, Actions}) ->
    world = ets:new(world, [named_table, public, set]),
    trace = ets:new(trace, [named_table, public, ordered_set]),
    ets:insert(world, [{clock, 1000}, {notes, 0}, {driver, self()}] ++ [{{spec, P}, S} || {P, S} <- Tree]),
    Driver = self(),
    Keeper = spawn(fun() -> keep(Driver) end),
    KeeperRef = monitor(process, Keeper),
    put(keeper, {Keeper, KeeperRef}),
    put(held, none),
    put(calls, []),
    [append({start, P}, lists:duplicate(N, fail)) || {fail_first, P, N} <- Actions],
    [append({start, P}, lists:duplicate(N, ignore)) || {ignore_first, P, N} <- Actions],
    case booting() of
        started -> settle(), [act(A) || A <- Actions];
        held -> [act(A) || A <- Actions];
        failed -> ok
    end,
    finish(),
    Lines = [T || {_, T} <- ets:tab2list(trace)],
    lists:flatten(lists:join(";", Lines ++ replies())).

keep(Driver) ->
    process_flag(trap_exit, true),
    case ?SUPERVISOR:start_link(?MODULE, "") of
        {ok, Root} ->
            Driver ! started,
            receive
                {'EXIT', Root, Reason} -> note(["down ", word(Reason)]);
                stop ->
                    exit(Root, shutdown),
                    receive {'EXIT', Root, Reason} -> note(["down ", word(Reason)]) end
            end;
        {error, _} ->
            note("start_failed"),
            Driver ! failed
    end.

booting() ->
    receive
        started -> put(booted, true), started;
        failed -> failed;
        {held, Path, Pid} -> put(held, {Path, Pid}), held
    after ?LIMIT -> error(boot_timeout)
    end.

%% Wait until every supervisor is idle or something is held: answers from all of them, every pid they list alive, and
%% nothing noted since the round before.
settle() -> settle(-1).

settle(Before) ->
    case get(held) of
        none ->
            %% subtrees first: what ends there is then on its way upwards
            Sups = lists:reverse(lists:sort([{P, Pid} || {{sup, P}, Pid} <- ets:tab2list(world)])),
            case round_of(Sups, true) of
                held -> ok;
                Quiet ->
                    Count = ets:lookup_element(world, notes, 2),
                    if Quiet, Count =:= Before -> ok;
                       true -> settle(Count)
                    end
            end;
        _ -> ok
    end.

round_of([], Quiet) -> Quiet;
round_of([{Path, Pid} | Rest], Quiet) ->
    Request = gen_server:send_request(Pid, which_children),
    case answer(Request) of
        held -> held;
        gone ->
            %% its parent learns of it by a signal of its own, which may still be on its way
            ets:delete_object(world, {{sup, Path}, Pid}),
            case Path of
                "" -> await_keeper();
                _ -> ok
            end,
            round_of(Rest, false);
        {ok, Children} ->
            Alive = lists:all(fun({_, P, _, _}) -> not is_pid(P) orelse is_process_alive(P) end, Children),
            round_of(Rest, Quiet andalso Alive)
    end.

await_keeper() ->
    {_, Ref} = get(keeper),
    receive {'DOWN', Ref, process, _, _} -> put(keeper, gone) after ?LIMIT -> error(root_gone_keeper_not) end.

answer(Request) ->
    case gen_server:wait_response(Request, 0) of
        {reply, R} -> {ok, R};
        {error, _} -> gone;
        timeout ->
            receive
                {held, Path, Pid} -> put(held, {Path, Pid}), held
            after 0 ->
                case gen_server:wait_response(Request, 2) of
                    {reply, R} -> {ok, R};
                    {error, _} -> gone;
                    timeout -> waited(), answer(Request)
                end
            end
    end.

waited() ->
    put(waited, case get(waited) of undefined -> 1; N when N < ?LIMIT -> N + 1 end).

%% While something is held only the supervisor that waits for it, and its children, may be acted upon; nobody while that
%% supervisor itself is not up yet, for then what it does next runs beside what its parent does next.
permitted(Sup) ->
    case get(held) of
        none -> true;
        {Path, _} -> above(Path) =:= Sup andalso is_up(Sup)
    end.

is_up("") -> get(booted) =:= true;
is_up(Path) ->
    [{_, Pid}] = ets:lookup(world, {sup, Path}),
    ets:lookup(world, {pid, Path}) =:= [{{pid, Path}, Pid}].

above(Path) -> lists:droplast(lists:flatten(lists:join("/", lists:droplast(string:split(Path, "/", all))) ++ "/")).

script({fail, Path, N}) -> append({start, Path}, lists:duplicate(N, fail));
script({ignore, Path, N}) -> append({start, Path}, lists:duplicate(N, ignore));
script({hold_start, Path}) -> append({start, Path}, [hold]);
script({hold_stop, Path}) -> append({stop, Path}, [hold]).

append(Key, New) ->
    Old = case ets:lookup(world, Key) of [{_, L}] -> L; [] -> [] end,
    ets:insert(world, {Key, Old ++ New}).

act({fail_first, _, _}) -> ok;
act({ignore_first, _, _}) -> ok;
act({advance, Seconds}) -> ets:update_counter(world, clock, Seconds);
act({release, Outcome}) ->
    case get(held) of
        none -> ok;
        {_, Pid} -> release(Pid, Outcome)
    end;
act({exit, Path, How}) ->
    Held = get(held),
    IsHeld = case Held of {Path, _} -> true; _ -> false end,
    case ets:lookup(world, {pid, Path}) of
        [{_, Pid}] when not IsHeld ->
            case is_process_alive(Pid) andalso permitted(above(Path)) of
                true -> end_process(Path, Pid, How), settle();
                false -> ok
            end;
        _ -> ok
    end;
act({change, Sup, Spec}) ->
    case {get(held), ets:lookup(world, {sup, Sup})} of
        {none, [{_, Pid}]} ->
            ets:insert(world, {{changed, Sup}, Spec}),
            ok = sys:suspend(Pid),
            Result = sys:change_code(Pid, ?SUPERVISOR, undefined, undefined),
            ok = sys:resume(Pid),
            ets:delete(world, {changed, Sup}),
            note(["change ", case Result of ok -> "ok"; _ -> "refused" end]),
            settle();
        _ -> ok
    end;
act({call, Sup, Call}) ->
    %% a pid asked for while its restart is under way would be another child's by then
    Stale = get(held) =/= none andalso is_tuple(Call) andalso element(1, Call) =:= terminate
        andalso is_simple(Sup),
    case {permitted(Sup) andalso not Stale, ets:lookup(world, {sup, Sup})} of
        {true, [{_, Pid}]} -> call(Pid, Sup, Call), settle();
        _ -> ok
    end;
act(Script) -> script(Script).

release(Pid, Outcome) ->
    put(held, none),
    Pid ! {release, Outcome},
    case get(booted) of
        true -> settle();
        _ -> case booting() of
                 started -> settle();
                 _ -> ok
             end
    end.

end_process(Path, Pid, How) ->
    Below = [P || {{path, P}, Q} <- ets:tab2list(world), lists:prefix(Path ++ "/", Q), is_process_alive(P)],
    Refs = [monitor(process, P) || P <- [Pid | Below]],
    case How of
        kill -> exit(Pid, kill);
        shutdown_x -> Pid ! {die, {shutdown, x}};
        _ -> Pid ! {die, How}
    end,
    [receive {'DOWN', R, process, _, _} -> ok after ?LIMIT -> error({would_not_die, Path}) end || R <- Refs],
    case ets:lookup(world, {sup, Path}) of
        [{_, Pid}] -> ets:delete(world, {sup, Path});
        _ -> ok
    end.

is_simple(Sup) ->
    case ets:lookup(world, {spec, Sup}) of
        [{_, {simple_one_for_one, _, _, _, _}}] -> true;
        _ -> false
    end.

call(Pid, Sup, Call) ->
    {Strategy, _, _, _, _} = ets:lookup_element(world, {spec, Sup}, 2),
    Message = case Call of
                  which -> which_children;
                  count -> count_children;
                  {start, Child} -> {start_child, child_spec(Sup, Strategy, Child)};
                  {start_dynamic, Name} -> {start_child, [Name]};
                  {terminate, Id} when Strategy =:= simple_one_for_one -> {terminate_child, dynamic(Sup, Id)};
                  {terminate, Id} -> {terminate_child, Id};
                  {restart, Id} -> {restart_child, Id};
                  {delete, Id} -> {delete_child, Id}
              end,
    Asked = case Message of
                {terminate_child, none} -> {replied, "not_found"};
                _ -> {request, gen_server:send_request(Pid, Message)}
            end,
    put(calls, [{Sup, Strategy, Call, Asked} | get(calls)]).

dynamic(Sup, Name) ->
    case ets:lookup(world, {pid, Sup ++ "/" ++ atom_to_list(Name)}) of
        [{_, Pid}] -> Pid;
        [] -> none
    end.

finish() ->
    case get(held) of
        {_, Pid} -> release(Pid, ok), finish();
        none ->
            case get(keeper) of
                gone -> ok;
                {Keeper, Ref} -> Keeper ! stop, ending(Ref)
            end
    end.

ending(Ref) ->
    receive
        {'DOWN', Ref, process, _, _} -> ok;
        {held, _, Pid} -> Pid ! {release, ok}, ending(Ref)
    after ?LIMIT -> error(would_not_end)
    end.

%% ---------------------------------------------------------------- replies

replies() ->
    [lists:flatten(["reply ", reply(Sup, Strategy, Call, Asked)]) || {Sup, Strategy, Call, Asked} <- lists:reverse(get(calls))].

reply(_, _, _, {replied, Word}) -> Word;
reply(Sup, Strategy, Call, {request, Request}) ->
    case gen_server:wait_response(Request, ?LIMIT) of
        {reply, Reply} -> said(Sup, Strategy, Call, Reply);
        {error, _} -> "noproc";
        timeout -> "no_reply"
    end.

said(_, simple_one_for_one, which, Children) ->
    lists:join(",", lists:sort([case P of
                                    restarting -> "?:restarting";
                                    _ -> [lists:last(string:split(path_of(P), "/", all)), ":pid"]
                                end || {_, P, _, _} <- Children]));
said(_, _, which, Children) ->
    lists:join(",", [[atom_to_list(Id), ":", case is_pid(P) of true -> "pid"; false -> atom_to_list(P) end]
                     || {Id, P, _, _} <- lists:reverse(Children)]);
said(_, _, count, Counts) -> lists:join(",", [integer_to_list(N) || {_, N} <- Counts]);
said(_, _, _, {ok, undefined}) -> "ok_undefined";
said(_, _, _, {ok, _}) -> "ok";
said(_, _, _, ok) -> "ok";
said(_, _, _, {error, {already_started, _}}) -> "already_started";
said(_, _, _, {error, {bad_combination, _}}) -> "bad_combination";
said(_, _, {start, _}, {error, Word}) when is_atom(Word) -> atom_to_list(Word);
said(_, _, {start, _}, {error, {_, _}}) -> "start_error";
said(_, _, {start_dynamic, _}, {error, _}) -> "start_error";
said(_, _, _, {error, boom}) -> "start_error";
said(_, _, _, {error, Word}) when is_atom(Word) -> atom_to_list(Word);
said(_, _, _, {error, _}) -> "start_error".
