"""A small story world: endless short stories made from a seed, the text on which the embedded model learns to write.

A story has a hero, usually a friend, and a plot (something is lost, made, feared, shared ...). Every sentence is chosen among several, so that two
stories with the same plot rarely share a paragraph. Most names are invented from syllables: a model that sees them must learn to carry a name from the
prompt through the text, instead of remembering a list.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

GIRLS = "Lily Mia Anna Ella Rosa Nora Ruby Zoe Ivy Clara Emma Lucy Sara Maya Tina Wanda Hazel June Alma Olive Petra Molly Daisy Greta Nina".split()
BOYS = "Tom Ben Max Leo Sam Finn Jack Oscar Hugo Noah Tim Paul Felix Otto Emil Adam Luke Milo Theo Ned Omar Ravi Kai Jonas Peter".split()
ANIMALS = "fox rabbit bear mouse cat dog duck frog owl hedgehog squirrel goat pony turtle badger otter".split()
ONSETS = "b br d dr f g gr h j k l m n p r s t tr v w z".split()
VOWELS = "a e i o u ee oo".split()
ENDINGS = "bo da dle fa go ka la lo ma mi na ni no po ra rin ro ta tin vi zo".split()
TRAITS = "little small brave kind shy clever quiet happy curious young cheerful gentle funny careful".split()
COLOURS = "red blue green yellow white black brown golden silver purple orange pink".split()
THINGS = "ball kite hat boat drum key book lamp bell box cup spoon scarf doll basket coat flute map shoe blanket button ring umbrella wagon".split()
FOODS = "apple pear cake pie cookie carrot bun plum sandwich pancake".split()
CAKES = ["apple pie", "carrot cake", "plum cake", "honey bread", "berry pie", "pumpkin soup"]
PLACES = {
    "forest": "in", "garden": "in", "park": "in", "village": "in", "meadow": "in", "barn": "in", "valley": "in", "old mill": "near", "river": "by",
    "lake": "by", "hill": "on", "beach": "on", "farm": "on", "bridge": "near", "pond": "by",
}  # fmt: skip
HIDING = [
    "under a bush",
    "behind a tree",
    "under the bed",
    "behind the door",
    "under a big leaf",
    "between two stones",
    "in the tall grass",
    "behind the shed",
    "under the bench",
    "in a hollow log",
]
HOMES = ["a small house", "a little cottage", "a tall house", "a warm house", "a wooden house", "a house with a red roof", "a house with a green door"]
DAYS = [
    "One day",
    "One morning",
    "One sunny day",
    "One rainy day",
    "One cold morning",
    "One afternoon",
    "One windy day",
    "One evening",
    "The next day",
    "On a warm day",
]
JOY = ["very happy", "so happy", "very glad", "full of joy", "very proud"]
SAD = ["very sad", "sad", "worried", "upset", "very worried"]
SKILLS = {
    "swim": ("swimming", "in the lake"), "ride a bike": ("riding", "on the road"), "whistle": ("whistling", "on the porch"), "skate": ("skating", "on the ice"),
    "climb": ("climbing", "on the old tree"), "paint": ("painting", "at the table"), "sing": ("singing", "in the kitchen"), "dance": ("dancing", "in the yard"),
    "read": ("reading", "by the window"), "fish": ("fishing", "at the river"), "juggle": ("juggling", "in the garden"),
}  # fmt: skip
LESSONS = {
    "lost": ["It is good to have a friend who helps.", "Two pairs of eyes see more than one.", "Looking calmly is better than crying."],
    "share": ["Sharing makes everything taste better.", "A thing shared is twice as nice.", "It feels good to share."],
    "skill": ["Nobody is good at something on the first day.", "If you keep trying, you will learn.", "Every day you get a little better."],
    "fear": ["Many things look scary in the dark, but they are not.", "It helps to look closely at what you fear.", "Being brave means to go even when you are afraid."],
    "sorry": ["It is never too late to say sorry.", "A true friend forgives.", "It is better to tell the truth."],
    "help": ["Even a small helper can do a big thing.", "Kind deeds come back to you.", "When everyone helps, the work is easy."],
    "rain": ["There is fun to be had in any weather.", "A rainy day can be the best day of all."],
    "plan": ["Good things take time.", "What you make yourself is worth the most."],
}  # fmt: skip


@dataclass(frozen=True)
class Character:
    name: str
    kind: str
    he: str
    him: str
    his: str

    @property
    def full(self) -> str:
        """The name, with the kind where it says something: Otto the otter, but plain Ravi for a boy."""
        return self.name if self.kind in ("girl", "boy") else f"{self.name} the {self.kind}"


def a(noun: str) -> str:
    """The noun phrase with its indefinite article."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def capital(text: str) -> str:
    return text[0].upper() + text[1:]


def invented_name(r: Random) -> str:
    return capital(r.choice(ONSETS) + r.choice(VOWELS) + (r.choice(ENDINGS) if r.random() < 0.8 else r.choice("nlrstkm")))


def character(r: Random, taken: str = "") -> Character:
    female = r.random() < 0.5
    while True:
        name = invented_name(r) if r.random() < 0.75 else r.choice(GIRLS if female else BOYS)
        if name != taken:
            break
    kind = r.choice(ANIMALS) if r.random() < 0.4 else ("girl" if female else "boy")
    return Character(name, kind, *(("she", "her", "her") if female else ("he", "him", "his")))


class Scene:
    """What a plot may draw on: the cast, a place, and ways of saying things."""

    def __init__(self, r: Random):
        self.r = r
        self.hero = character(r)
        self.friend = character(r, self.hero.name)
        self.place = r.choice(list(PLACES))
        self.thing = f"{r.choice(COLOURS)} {r.choice(THINGS)}"
        self.friend_is_known = r.random() < 0.35

    def one(self, *sentences: str) -> str:
        return self.r.choice(sentences)

    def maybe(self, *sentences: str) -> str:
        return self.r.choice(sentences) if self.r.random() < 0.5 else ""

    def at_place(self) -> str:
        return f"{PLACES[self.place]} the {self.place}"

    def opening(self) -> list[str]:
        h, trait, at = self.hero, self.r.choice(TRAITS), self.at_place()
        second = self.r.choice([t for t in TRAITS if t != trait])
        home = self.r.choice(HOMES)
        first = self.one(
            f"Once upon a time, there was {a(trait)} {h.kind} named {h.name}.",
            f"Once upon a time, {a(trait)} {h.kind} named {h.name} lived {at}.",
            f"There once was {a(trait)} {h.kind} called {h.name}.",
            f"{h.name} was {a(trait)} {h.kind} who lived {at}.",
            f"Once there was {a(trait)} and {second} {h.kind}. {capital(h.his)} name was {h.name}.",
            f"In {home} {at} lived {a(trait)} {h.kind} named {h.name}.",
        )
        known = self.one(
            f"{capital(h.he)} had a friend named {self.friend.name}.",
            f"{capital(h.his)} best friend was {self.friend.full}.",
            f"{capital(h.he)} had a good friend, {self.friend.full}.",
            f"{capital(h.his)} friend {self.friend.name} lived next door.",
        )
        return [first, known if self.friend_is_known else "", self.maybe(
            f"{h.name} lived in {home}.",
            f"{capital(h.he)} liked to play {at}.",
            f"{h.name} loved {h.his} {self.thing} more than anything.",
            f"Every morning {h.he} looked out of the window and smiled.",
            f"Everyone {at} knew {h.him}.",
        )]  # fmt: skip

    def closing(self, lesson: str) -> list[str]:
        h, f = self.hero, self.friend
        moral = self.r.choice(LESSONS[lesson])
        return [
            self.one(
                f"From that day on, {h.name} and {f.name} were best friends.",
                f"{h.name} and {f.name} walked home together, and they were {self.r.choice(JOY)}.",
                f"That night {h.name} fell asleep with a smile.",
                f"{h.name} hugged {f.name} and said, \"Thank you for everything.\"",
                "They laughed and played until the sun went down.",
                f"And {h.name} never forgot that day.",
            ),
            self.one(f"{h.name} had learned something. {moral}", f"\"{moral[:-1]},\" said {f.name}.", moral, "", ""),
            self.maybe("The end."),
        ]  # fmt: skip

    def meets_friend(self) -> str:
        h, f = self.hero, self.friend
        if self.friend_is_known:
            return self.one(f"Then {f.name} came by.", f"Just then {h.he} saw {f.name}.", f"So {h.he} went to {f.name}.", f"On the way {h.he} met {f.name}.")
        trait = self.r.choice(TRAITS)
        return self.one(
            f"Then {h.name} met {a(trait)} {f.kind} named {f.name}.",
            f"Just then {f.full} came by.",
            f"On the way {h.he} met {f.name}, {a(trait)} {f.kind}.",
            f"{a(trait).capitalize()} {f.kind} named {f.name} saw {h.him}.",
        )


def lost(s: Scene) -> list[str]:
    h, f, thing, day = s.hero, s.friend, s.thing, s.r.choice(DAYS)
    wrong, right = s.r.sample(HIDING, 2)
    return [
        s.one(f"{day}, {h.name} could not find {h.his} {thing}.", f"{day}, {h.his} {thing} was gone.", f"{day}, {h.name} lost {h.his} {thing} {s.at_place()}."),
        s.one(f"{capital(h.he)} looked {wrong}, but it was not there.", f"{h.name} looked everywhere. It was not {wrong}.", f"First {h.he} looked {wrong}. Nothing!"),
        s.one(f"{h.name} was {s.r.choice(SAD)}.", f"{capital(h.he)} sat down and began to cry.", f"\"Oh no,\" said {h.name}. \"Where is my {thing}?\""),
        s.meets_friend(),
        s.one(f"\"Why are you so sad?\" asked {f.name}.", f"\"What is wrong?\" asked {f.name}.", f"\"Can I help you?\" asked {f.name}."),
        s.one(f"\"I lost my {thing},\" said {h.name}.", f"\"My {thing} is gone,\" {h.name} answered.", f"{h.name} told {f.him} about the {thing}."),
        s.one(f"\"Let us look together,\" said {f.name}.", f"\"I will help you,\" said {f.name}.", f"{f.name} said, \"Do not worry. We will find it.\""),
        s.one(f"They looked and looked. At last {f.name} found the {thing} {right}.", f"Then {f.name} pointed. The {thing} was {right}!", f"Soon {h.name} saw something {thing.split()[0]} {right}. It was the {thing}!"),
        s.one(f"{h.name} was {s.r.choice(JOY)}.", f"\"Thank you, {f.name}!\" said {h.name}.", f"{h.name} jumped up and down."),
        *s.closing("lost"),
    ]  # fmt: skip


def share(s: Scene) -> list[str]:
    h, f, food, day = s.hero, s.friend, s.r.choice(FOODS), s.r.choice(DAYS)
    size = s.r.choice(["big", "sweet", "fresh", "warm", "lovely"])
    return [
        s.one(f"{day}, {h.name} had {a(size)} {food}.", f"{day}, {h.his} mother gave {h.him} {a(size)} {food}.", f"{day}, {h.name} found {a(size)} {food} on the table."),
        s.one(f"{capital(h.he)} went outside to eat it {s.at_place()}.", f"{h.name} was hungry and wanted to eat it at once.", f"It smelled so good that {h.name} could not wait."),
        s.meets_friend(),
        s.one(f"{f.name} looked at the {food}. {capital(f.he)} had nothing to eat.", f"{f.name} was hungry too.", f"\"I am so hungry,\" said {f.name}."),
        s.one(f"{h.name} thought for a moment.", f"At first {h.name} did not want to share.", f"{h.name} looked at the {food} and then at {f.name}."),
        s.one(f"Then {h.he} gave {f.name} half of the {food}.", f"\"You can have half,\" said {h.name}.", f"\"Let us share it,\" {h.he} said with a smile."),
        s.one(f"They sat down {s.at_place()} and ate the {food} together.", "They ate it all, down to the last bite.", f"The {food} was {s.r.choice(['very good', 'sweet', 'the best they ever had'])}."),
        s.one(f"\"Tomorrow I will bring something for you,\" said {f.name}.", f"{f.name} was {s.r.choice(JOY)}.", f"\"You are a good friend,\" said {f.name}."),
        *s.closing("share"),
    ]  # fmt: skip


def skill(s: Scene) -> list[str]:
    h, f, day = s.hero, s.friend, s.r.choice(DAYS)
    verb = s.r.choice(list(SKILLS))
    noun, where = SKILLS[verb]
    return [
        s.one(f"{h.name} wanted to learn to {verb}.", f"More than anything, {h.name} wanted to {verb}.", f"All the others could {verb}, but {h.name} could not."),
        s.one(f"{day}, {h.he} tried it {where}, but it did not work.", f"{day}, {h.he} tried to {verb} {where}. It was very hard.", f"{capital(h.he)} tried once, and {h.he} tried twice, but it went wrong."),
        s.one(f"\"I will never learn it,\" said {h.name}.", f"{h.name} was {s.r.choice(SAD)}.", f"{h.name} wanted to give up."),
        s.meets_friend(),
        s.one(f"{f.name} was very good at {noun}.", f"\"I can show you how to {verb},\" said {f.name}.", f"\"{capital(noun)} was hard for me too,\" said {f.name}."),
        s.one(f"\"Try it slowly,\" said {f.name}.", f"\"You must try again,\" said {f.name}.", f"\"Watch me first,\" said {f.name}, \"and then you try.\""),
        s.one(f"So {h.name} tried again and again.", f"Every day they went back and tried {where}.", f"{h.name} took a deep breath and tried once more."),
        s.one(f"After a week, {h.name} could {verb}!", f"And then it worked! {h.name} could {verb}!", f"On the third day, {h.he} could really {verb}."),
        s.one(f"\"Look, I can {verb}!\" {h.he} called.", f"{f.name} clapped {f.his} hands.", f"{h.name} was {s.r.choice(JOY)}."),
        *s.closing("skill"),
    ]  # fmt: skip


def fear(s: Scene) -> list[str]:
    h, f = s.hero, s.friend
    noise = s.r.choice(["a strange noise", "a loud noise", "a soft knock", "a long howl", "a little sound"])
    cause = s.r.choice(["a branch at the window", "the wind in the trees", "a small kitten", "an old door", "a tiny mouse", "the rain on the roof"])
    return [
        s.one("One night it was very dark.", "One night the moon was hidden behind the clouds.", f"One night {h.name} could not sleep."),
        s.one(f"{h.name} heard {noise}.", f"Suddenly there was {noise}.", f"{capital(noise)} came from outside."),
        s.one(f"{capital(h.he)} hid under {h.his} blanket.", f"\"Who is there?\" {h.he} whispered.", f"{h.name} was afraid."),
        s.one(f"{h.his.capitalize()} friend {f.full} was afraid too.", f"{h.name} woke {f.name}.", f"{h.name} called {f.name}, who was sleeping nearby."),
        s.one(f"\"Maybe it is a monster,\" said {f.name}.", f"\"Let us go and look,\" said {f.name}.", f"\"We can be brave together,\" said {f.name}."),
        s.one("They took a lamp and opened the door.", f"{h.name} took {f.name} by the hand, and they went outside.", "Step by step, they walked into the dark."),
        s.one(f"It was only {cause}!", f"And what did they see? It was {cause}.", f"There was no monster. It was {cause}."),
        s.one(f"{h.name} began to laugh.", "They laughed so hard that they had to sit down.", f"\"We were afraid of nothing,\" said {h.name}."),
        s.one("Then they went back to bed.", f"{f.name} made some warm milk.", "After that they slept until morning."),
        *s.closing("fear"),
    ]  # fmt: skip


def sorry(s: Scene) -> list[str]:
    h, f, thing, day = s.hero, s.friend, s.thing, s.r.choice(DAYS)
    return [
        s.one(f"{h.his.capitalize()} best friend was {f.name}, {a(s.r.choice(TRAITS))} {f.kind}.", f"{h.name} and {f.full} played together every day."),
        s.one(f"{day}, {h.name} broke {f.name}'s {thing}.", f"{day}, {h.name} took {f.name}'s {thing} without asking, and it broke.", f"{day}, they played with the {thing}, and {h.name} dropped it."),
        s.one(f"\"I did not do it,\" said {h.name}. But that was not true.", f"{h.name} hid the {thing} and said nothing.", f"{h.name} was afraid to tell {f.him}."),
        s.one(f"{f.name} looked for the {thing} all day.", f"{f.name} was {s.r.choice(SAD)}.", f"\"My {thing} was a gift from my grandmother,\" said {f.name}."),
        s.one(f"{h.name} felt bad. {capital(h.he)} could not eat, and {h.he} could not play.", f"That night {h.name} could not sleep.", f"{h.name} had a heavy heart."),
        s.one(f"The next morning {h.he} went to {f.name}.", f"At last {h.he} ran to {f.name}'s house.", f"So {h.he} took the {thing} and knocked at the door."),
        s.one(f"\"I broke your {thing},\" said {h.name}. \"I am sorry.\"", f"\"It was me,\" {h.he} said. \"I am so sorry.\"", f"{h.name} told {f.him} the truth and said sorry."),
        s.one(f"{f.name} was quiet for a while. Then {f.he} smiled.", f"\"Thank you for telling me,\" said {f.name}.", f"\"We can mend it together,\" said {f.name}."),
        s.one(f"They mended the {thing} with glue and string.", f"Together they made the {thing} as good as new.", f"They worked all day, and then the {thing} was whole again."),
        *s.closing("sorry"),
    ]  # fmt: skip


def helping(s: Scene) -> list[str]:
    h, f, day = s.hero, s.friend, s.r.choice(DAYS)
    trouble, fix = s.r.choice([
        ("was stuck in the mud", "pulled as hard as {he} could"), ("could not cross the river", "put a long plank over the water"),
        ("had hurt a foot", "tied a soft cloth around it"), ("had a cart with a broken wheel", "brought a new wheel from the barn"),
        ("could not reach the apples", "climbed up and shook the tree"), ("was lost in the fog", "showed the way with a lamp"),
        ("had too many bags to carry", "took the heavy bags"),
    ])  # fmt: skip
    return [
        s.one(f"{day}, {h.name} went for a walk {s.at_place()}.", f"{day}, {h.name} was on the way to the market.", f"{day}, {h.name} was playing {s.at_place()}."),
        s.one("Suddenly someone called for help.", f"Then {h.he} heard a voice. \"Help, help!\"", f"{capital(h.he)} heard someone cry."),
        s.one(f"It was {f.name}, {a(s.r.choice(TRAITS))} {f.kind}, who {trouble}.", f"There stood {a(f.kind)} named {f.name}, who {trouble}."),
        s.one(f"\"Do not be afraid,\" said {h.name}.", f"\"I will help you,\" {h.name} called.", f"{h.name} did not wait."),
        s.one(f"{capital(h.he)} {fix.format(he=h.he)}.", f"Quickly {h.he} {fix.format(he=h.he)}."),
        s.one("It was hard work, but in the end it was done.", f"\"That is much better,\" said {f.name}.", f"{f.name} was {s.r.choice(JOY)}."),
        s.one(f"\"How can I thank you?\" asked {f.name}.", f"{f.name} gave {h.him} {a(s.thing)}.", f"\"Come to my house for supper,\" said {f.name}."),
        s.one(f"\"I was glad to help,\" said {h.name}.", f"{h.name} smiled and said, \"That is what friends do.\"", "They sat by the fire and told stories."),
        *s.closing("help"),
    ]  # fmt: skip


def weather(s: Scene) -> list[str]:
    h, f, thing = s.hero, s.friend, s.thing
    return [
        s.one("One day it rained and rained.", "One day dark clouds came, and it began to rain.", f"{h.name} looked out of the window. It was raining again."),
        s.one(f"{h.name} could not go outside to play with the {thing}.", f"\"What a boring day,\" said {h.name}.", f"{h.name} was {s.r.choice(SAD)}, because nobody could play outside."),
        s.one(f"Then someone knocked at the door. It was {f.full}.", f"But {h.his} friend {f.full} had an idea."),
        s.one(f"\"Put on your boots,\" said {f.name}.", f"\"Rain is fun,\" said {f.name}.", f"\"Come out with me,\" said {f.name}."),
        s.one("They jumped into every puddle.", "They made little boats of paper and let them sail.", "They danced in the rain and sang a song."),
        s.one(f"{h.name} laughed and laughed.", "Soon they were wet from head to foot.", "A frog looked at them and said nothing."),
        s.one("At last the sun came out, and there was a rainbow.", "Then the rain stopped, and the air smelled fresh and sweet.", "After an hour the sky was blue again."),
        s.one(f"They went inside and had hot {s.r.choice(['soup', 'tea', 'milk', 'chocolate'])}.", f"{h.name} gave {f.name} a dry towel.", f"\"Let it rain tomorrow too,\" said {h.name}."),
        *s.closing("rain"),
    ]  # fmt: skip


def making(s: Scene) -> list[str]:
    h, f, day, cake = s.hero, s.friend, s.r.choice(DAYS), s.r.choice(CAKES)
    builds = s.r.random() < 0.5
    what = s.r.choice(["tree house", "raft", "snow man", "kite", "swing", "bird house", "sand castle"]) if builds else cake
    need = (
        s.r.choice(["wood and nails", "rope and wood", "stones and sticks"]) if builds else s.r.choice(["flour and eggs", "milk and honey", "butter and sugar"])
    )
    make = "build" if builds else "make"
    made = "built" if builds else "made"
    return [
        s.one(f"{day}, {h.name} wanted to {make} {a(what)} for {f.full}.", f"{day}, {h.name} said to {f.full}, \"Let us {make} {a(what)}.\""),
        s.one(f"First they needed {need}.", f"\"We need {need},\" said {f.name}.", f"{h.name} went to get {need}."),
        s.one(f"{h.name} worked slowly and carefully.", "They worked from morning to noon.", "It was more work than they had thought."),
        s.one(f"Then something went wrong. {f.name} {'dropped the wood' if builds else 'dropped an egg'}.", f"But the first {what} was not good.", f"\"It does not look right,\" said {h.name}."),
        s.one(f"\"Never mind,\" said {f.name}. \"We will try again.\"", f"{h.name} wanted to stop, but {f.name} said, \"Not yet.\"", "So they started again."),
        s.one(f"At last the {what} was ready.", f"In the evening they had {made} a wonderful {what}.", f"And then there it was, the best {what} {s.at_place()}."),
        s.one("Everyone came to see it.", f"\"We did it!\" said {h.name}.", f"{h.name} and {f.name} were {s.r.choice(JOY)}."),
        s.one(f"They {'played with it' if builds else 'ate it'} all evening.", f"\"Tomorrow we will {make} another one,\" said {f.name}."),
        *s.closing("plan"),
    ]  # fmt: skip


def quest(s: Scene) -> list[str]:
    h, f, thing = s.hero, s.friend, s.thing
    guard = s.r.choice(["an old dragon", "a big bear", "a grumpy giant", "a tall wizard", "a wise owl"])
    where = s.r.choice(["behind the mountains", "in a deep cave", "on a far island", "in an old castle", "at the end of the world"])
    return [
        s.one(f"One day {h.name} heard about a magic {thing.split()[1]} {where}.", f"An old map said that a magic {thing.split()[1]} lay {where}."),
        s.one(f"\"I will find it,\" said {h.name}.", f"{capital(h.he)} packed some bread and {a(s.r.choice(COLOURS))} coat and set off."),
        s.meets_friend(),
        s.one(f"\"May I come with you?\" asked {f.name}. \"Of course,\" said {h.name}.", f"\"It is a long way,\" said {f.name}. \"I will come with you.\""),
        s.one("They walked for three days.", "They crossed a river and climbed a steep hill.", "They slept under the stars and ate berries."),
        s.one(f"At last they came to {guard}.", f"There sat {guard} and looked at them."),
        s.one(f"\"What do you want?\" asked the {guard.split(' ', 1)[1]}.", f"{h.name} was afraid, but {f.name} stepped forward."),
        s.one(f"\"We only want to see the magic {thing.split()[1]},\" said {h.name}.", f"{h.name} bowed and said, \"Good day.\""),
        s.one(f"\"Nobody was ever so polite to me,\" said the {guard.split(' ', 1)[1]}. \"You may have it.\"", f"And because they were kind, they got the magic {thing.split()[1]}."),
        s.one(f"The magic {thing.split()[1]} could make everyone laugh.", "When they came home, the whole village sang.", "They shared it with all their friends."),
        *s.closing("help"),
    ]  # fmt: skip


PLOTS: tuple[Callable[[Scene], list[str]], ...] = (lost, share, skill, fear, sorry, helping, weather, making, quest)


def paragraphs(sentences: list[str], r: Random) -> str:
    """The sentences as two or three paragraphs."""
    kept = [s for s in sentences if s]
    breaks = sorted(r.sample(range(2, len(kept) - 1), min(r.choice((1, 2)), len(kept) - 3)))
    parts, start = [], 0
    for end in [*breaks, len(kept)]:
        parts.append(" ".join(kept[start:end]))
        start = end
    return "\n".join(parts)


@dataclass(frozen=True)
class Story:
    """A text, the names of those who act in it, and a request that it answers."""

    text: str
    names: tuple[str, str]
    request: str


def story(r: Random) -> Story:
    """One story, 90 to 220 words."""
    scene = Scene(r)
    text = paragraphs([*scene.opening(), *r.choice(PLOTS)(scene)], r)
    h, f = scene.hero, scene.friend
    request = r.choice([
        f"Tell me a story about {a(h.kind)} named {h.name}.", f"Please write a story about {h.full}.",
        f"Tell me a story about {h.name} and {f.name}.", f"I want to hear about {h.full} and {f.full}.",
        f"Write a short story about {a(h.kind)} named {h.name} and {a(f.kind)} named {f.name}.", f"Can you tell me a story about {h.name}?",
    ])  # fmt: skip
    return Story(text, (h.name, f.name), request)


if __name__ == "__main__":
    for seed in range(3):
        print(story(Random(seed)).text, end="\n\n")
    print(story(Random(9)).request)
