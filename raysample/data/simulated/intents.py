"""The grammar of the simulated assistant traffic: intents from most to least popular, their phrases and slot fillers.

Phrases and fillers stand in order of popularity as well: the k-th is said 1/k as often as the first. A phrase that
several intents share ("stop", "turn it off") is ambiguous on purpose: no model can be sure of it, as in real traffic.
All names of songs, albums and bands are made up.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Intent:
    """One class: its name, its domain, the intents it is confused with, its phrases by popularity."""

    name: str
    domain: str
    confusable: tuple[str, ...]
    phrases: tuple[str, ...]


def _list(text: str) -> tuple[str, ...]:
    """Return the items of a comma-separated text."""
    return tuple(part.strip() for part in text.split(","))


SLOTS: dict[str, tuple[str, ...]] = {
    "song": _list(
        "paper lanterns, slow river, midnight kitchen, salt and thunder, borrowed light, glass garden, cold coffee, "
        "northern window, seven bridges, velvet engine, small hours, tin roof, echo street, honey and rust, low tide, "
        "static heart, blue ladder, winter fruit, the long way back, copper sky, quiet parade, orange smoke"
    ),
    "album": _list(
        "slow river, harbour songs, seven bridges, glass garden, rooms without doors, copper sky, live at the mill, "
        "small hours, field notes, second summer, tin roof, letters to the sea, winter fruit, machines at rest"
    ),
    "artist": _list(
        "low tide, copper foxes, velvet engine, the paper kites club, seven bridges, marble avenue, night bus choir, "
        "echo street, the second spoon, tall grass, sunday static, the brass owls, little harbour, winter orchard"
    ),
    "genre": _list("jazz, rock, some classical music, pop, lo-fi, country, hip hop, folk, blues, techno, piano music"),
    "number": _list("ten, five, twenty, fifteen, thirty, two, three, forty five, twelve, sixty, eight, twenty five"),
    "hour": _list("seven, six thirty, six, eight, seven thirty, five, nine, half past six, ten, five forty five, noon"),
    "part": _list(
        "tomorrow, in the morning, tomorrow morning, tonight, on monday, on saturday, on weekdays, this evening"
    ),
    "day": _list(
        "tomorrow, on saturday, this weekend, on monday, on sunday, on friday, tonight, next week, on thursday"
    ),
    "city": _list(
        "london, berlin, paris, new york, madrid, oslo, tokyo, lisbon, chicago, rome, toronto, dublin, prague"
    ),
    "room": _list(
        "kitchen, living room, bedroom, hall, bathroom, office, garage, kids room, porch, dining room, basement, attic"
    ),
    "degrees": _list("twenty, twenty one, nineteen, twenty two, eighteen, sixty eight, seventy, seventy two, sixteen"),
    "percent": _list("fifty, thirty, twenty, ten, seventy, forty, eighty, sixty, five"),
    "item": _list(
        "milk, eggs, bread, butter, coffee, bananas, cheese, toilet paper, rice, apples, pasta, tomatoes, dog food, "
        "onions, chicken, dish soap, olive oil, yogurt, batteries, light bulbs, cereal, orange juice, paper towels, tea"
    ),
    "person": _list(
        "mom, dad, my sister, my brother, the office, grandma, my boss, the dentist, my neighbour, the babysitter, "
        "the school, my wife, my husband, grandpa, my roommate, the plumber, the landlord, my aunt, the pharmacy"
    ),
    "message": _list(
        "i am on my way, i will be late, call me back, dinner is ready, happy birthday, see you soon, i am at home, "
        "pick up the kids, where are you, thank you, good luck today, the keys are under the mat"
    ),
    "event": _list(
        "the team meeting, a dentist appointment, lunch, the gym, a call with the bank, dinner, football practice, "
        "the school play, a haircut, the car service, yoga, the parents evening, book club, a doctor appointment"
    ),
    "task": _list(
        "take out the trash, call the dentist, water the plants, take my pills, pay the rent, feed the cat, buy milk, "
        "pick up the kids, send the report, walk the dog, book a table, charge the car, defrost the chicken"
    ),
}


# Name, domain: confusable intents, and below, indented, the phrases.
_GRAMMAR = """
play_song music: play_album play_artist
    play {song} | play the song {song} | play {song} by {artist} | put on {song} | i want to hear {song} | can
    you play {song} for me | play that song {song} again | start {song}
set_timer clock: set_alarm set_reminder
    set a timer for {number} minutes | {number} minute timer | timer {number} minutes | set a {number} minute
    {item} timer | wake me in {number} minutes | start a timer | count down {number} minutes | tell me when
    {number} minutes are over | alert me in {number} minutes
weather_today weather: weather_forecast ask_temperature
    what's the weather | weather | what's the weather like today | what is it like outside | how is the
    weather in {city} | weather in {city} | give me today's weather | what's the weather in {city} right now |
    how does it look outside
lights_on home: lights_off dim_lights
    turn on the lights | lights on | {room} lights | turn on the {room} lights | turn it on | turn the {room}
    light on | switch on the {room} lamp | light up the {room} | it's too dark in the {room}
lights_off home: lights_on dim_lights
    turn off the lights | lights off | {room} lights | turn it off | turn off the {room} lights | turn the
    {room} light off | switch off the {room} lamp | all lights out | make the {room} dark
stop_music music: next_song cancel_timer
    stop | stop the music | pause | turn it off | be quiet | stop playing | turn off the music | that's enough
    | stop {song}
set_alarm clock: set_timer set_reminder
    set an alarm for {hour} | wake me up at {hour} | set an alarm for {hour} {part} | alarm at {hour} | wake
    me in {number} minutes | alert me at {hour} | wake me at {hour} {part} | i need to get up at {hour} | set
    my alarm
add_to_list shopping: order_item remove_from_list
    add {item} to my shopping list | add {item} to the list | put {item} on the list | {item} | get {item} |
    we need {item} | add {item} and {item} | we are out of {item}
next_song music: stop_music play_song
    next | skip | next song | skip this one | play the next song | i don't like this song | play something
    else | another one
volume_up music: volume_down stop_music
    volume up | louder | volume {percent} | turn it up | turn up the volume | i can't hear it | set the volume
    to {percent} | make it louder
play_artist music: play_song play_album
    play {artist} | play songs by {artist} | play some {artist} | put on {artist} | i want to hear {artist} |
    play the best of {artist} | anything by {artist}
call_person people: send_message
    call {person} | phone {person} | call {person} on the mobile | ring {person} | get {person} on the line |
    i want to talk to {person} | {person} | dial {person} please
ask_time clock: read_events
    what time is it | what's the time | time | tell me the time | what time is it in {city} | what day is it |
    how late is it
volume_down music: volume_up stop_music
    volume down | volume {percent} | turn it down | be quiet | quieter | turn down the volume | that's too
    loud | set the volume to {percent}
weather_forecast weather: weather_today ask_rain
    what's the weather {day} | weather {day} | what will the weather be like {day} | how will it be {day} |
    forecast for {city} | weather in {city} {day} | give me the forecast
send_message people: call_person read_messages
    text {person} {message} | send a message to {person} | tell {person} {message} | message {person} saying
    {message} | write to {person} that {message} | tell {person} | let {person} know {message}
greet talk: thank ask_help
    hello | good morning | hi there | hey | good evening | how are you | good night
set_reminder calendar: set_alarm add_event
    remind me to {task} | remind me to {task} at {hour} | remind me to {task} {day} | alert me at {hour} | set
    a reminder to {task} | don't let me forget to {task} | remind me of {event} | reminder {task} | remind me
    in {number} minutes
cancel_timer clock: cancel_alarm stop_music
    cancel the timer | stop | cancel | stop the timer | cancel my {number} minute timer | turn off the timer |
    turn it off
set_temperature home: ask_temperature dim_lights
    set the temperature to {degrees} | turn it up | set the heating to {degrees} degrees | turn it down | make
    it warmer | {degrees} degrees in the {room} | turn up the heating | it's too cold in the {room}
ask_rain weather: weather_forecast weather_today
    will it rain today | do i need an umbrella | is it going to rain {day} | how will it be {day} | will it
    rain in {city} | is it raining | will it be dry {day}
ask_temperature weather: weather_today set_temperature
    how cold is it | what's the temperature | what is it like outside | how warm is it in {city} | how many
    degrees are there outside | temperature in the {room} | how hot will it be {day}
play_genre music: play_artist play_song
    play {genre} | play some music | play some {genre} | put on {genre} | i want to hear {genre} | play music
    for {event} | start a {genre} station
read_events calendar: read_messages add_event
    what's on my calendar | what do i have {day} | next | do i have anything {day} | when is {event} | what's
    next | read my calendar for {day}
dim_lights home: lights_off lights_on
    dim the lights | dim the {room} lights | turn it down | set the {room} lights to {percent} percent |
    lights at {percent} percent | make the {room} darker | turn down the {room} lights
read_list shopping: add_to_list read_messages
    what's on my shopping list | read my list | is {item} on the list | what do we need | tell me the shopping
    list | do we need {item}
add_event calendar: set_reminder read_events
    add {event} to my calendar | put {event} on the calendar {day} | schedule {event} {day} at {hour} | book
    {event} at {hour} | i have {event} {day} | new event {event}
cancel_alarm clock: cancel_timer set_alarm
    cancel my alarm | cancel | turn off the alarm | stop | delete the alarm at {hour} | no alarm {part}
play_album music: play_song play_artist
    play {album} | play the album {album} | play {album} by {artist} | put on the record {album} | start
    {album} | play the whole of {album}
tell_joke talk: greet ask_help
    tell me a joke | say something funny | another one | make me laugh | do you know a joke about {item}
read_messages people: read_events send_message
    read my messages | do i have new messages | what did {person} write | any news from {person} | read the
    last message | what's new
order_item shopping: add_to_list
    order {item} | buy {item} | get {item} | order more {item} | buy {item} and {item} | i want to order
    {item}
remove_from_list shopping: add_to_list cancel_event
    remove {item} from the list | take {item} off my list | we have {item} already | delete {item} | clear the
    list
thank talk: greet
    thank you | thanks a lot | that's enough | great | well done
cancel_event calendar: remove_from_list add_event
    cancel {event} | delete {event} from my calendar | remove {event} {day} | call off {event} | i can't make
    it to {event}
ask_help talk: greet tell_joke
    help | what can you do | how do i set an alarm | how can i play {genre} | what can i say | how do i send a
    message to {person}
"""


def _parsed(grammar: str) -> Iterator[Intent]:
    """Yield the intents of a grammar in text form."""
    for head, _, phrases in (block.partition("\n") for block in re.split(r"\n(?=\S)", grammar.strip())):
        name, domain, *confusable = head.replace(":", "").split()
        yield Intent(name, domain, tuple(confusable), tuple(" ".join(p.split()) for p in phrases.split("|")))


INTENTS: tuple[Intent, ...] = tuple(_parsed(_GRAMMAR))
