"""The problems that story heroes meet: `PROBLEMS`, each with causes, tries, helpers, solutions and endings.

Slots: {name}, {he}, {He}, {him}, {his}, {His}, {himself}, {helper}. Every cause
continues a sentence that begins like "One sunny morning, ...".
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """One problem: `topic` completes "a fox who ...", the rest are interchangeable sentences."""

    key: str
    topic: str
    causes: tuple[str, ...]
    feelings: tuple[str, ...]
    tries: tuple[str, ...]
    helpers: tuple[str, ...]
    solutions: tuple[str, ...]
    endings: tuple[str, ...]
    morals: tuple[str, ...]
    days: tuple[str, ...] = ()  # when it happens, if not on just any day


EVENINGS = ("One cool evening", "One evening", "One Sunday evening", "One autumn evening")
KINDNESS = ("A kind friend makes every problem smaller.", "It is good to ask for help.")
SAD = ("{name} was very sad.", "{name} felt like crying.", "{He} sat down and sighed.")

# fmt: off
PROBLEMS: tuple[Problem, ...] = (
    Problem(
        "hat", "lost a hat",
        ("a strong wind blew and took {his} new hat away.", "{name} ran so fast that {his} hat fell off and was gone."),
        SAD,
        ("{He} looked under every bush, but the hat was not there.",
         "{He} looked left and right, but {he} could not see the hat."),
        ("tall giraffe", "old owl", "brown horse"),
        ('"I see a hat on the top of that tree," said the {helper}, and shook the tree until the hat fell down.',
         "The {helper} looked up and saw the hat on a high branch, and soon it was back on the head of {name}."),
        ("From that day on, {name} held {his} hat tight when the wind blew.", "{name} wore the hat all the way home."),
        ("Two friends see more than one.",) + KINDNESS,
    ),
    Problem(
        "dark", "was afraid of the dark",
        ("{name} stayed out too long, and the night came with no moon.",
         "{name} came home late, and everything was very dark."),
        ("{name} was afraid and did not move.", "{His} knees shook, and {he} wanted to be at home.",
         "{name} saw shadows everywhere."),
        ("{He} closed {his} eyes, but that only made it darker.",
         "{He} sang a song to be brave, but {his} voice shook."),
        ("little firefly", "wise owl", "gentle bat"),
        ('"The dark is only the day asleep," said the {helper}, and they looked at the stars until {name} was calm.',
         "The {helper} showed {name} that the scary shadows were only trees, and walked home with {him}."),
        ("That night {name} slept well and dreamed of bright stars.",
         "After that, {name} often went out to look at the night sky."),
        ("Things are less scary when you know them.", "Being brave is easier with a friend."),
        EVENINGS,
    ),
    Problem(
        "kite", "lost a kite in a tree",
        ("{name} was flying a red kite when the string broke and the kite flew into a tree.",
         "the wind carried the new kite of {name} into the top of a tree."),
        SAD,
        ("{He} jumped as high as {he} could, but the tree was too tall.",
         "{He} threw a stick at the kite, but the stick came down alone."),
        ("quick monkey", "kind crow", "small blue bird"),
        ("The {helper} went up to the top of the tree, freed the kite, and brought it down.",
         '"That is easy for me," said the {helper}, and a moment later the kite was free.'),
        ("They flew the kite together until the sun went down.",
         "Then they tied a stronger string to the kite and let it fly again."),
        ("Everyone is good at something.",) + KINDNESS,
    ),
    Problem(
        "lonely", "had no friends",
        ("{name} wanted to play, but there was nobody to play with.",
         "{name} had just come to a new home and did not know anyone."),
        ("{name} felt very lonely.", "{He} wished for a friend.", "{He} sat alone under a tree and sighed."),
        ("{He} played ball alone, but the ball never came back.",
         "{He} talked to a stone, but the stone said nothing."),
        ("shy deer", "friendly frog", "small lamb"),
        ('"I am alone too," said the {helper}, "so let us play together," and they played hide and seek until dinner.',
         "The {helper} sat down next to {him}, and soon they were laughing and playing."),
        ("From then on, they met every day.", "{name} was never lonely again."),
        ("A new friend can be very near.", "You find a friend when you say hello."),
    ),
    Problem(
        "way", "got lost",
        ("{name} followed a yellow butterfly and lost the way home.",
         "{name} took a new path and did not know the way back."),
        ("{name} was worried.", "{He} did not know where {he} was.", "Everything looked strange to {him}."),
        ("{He} walked in a circle and came back to the same stone.",
         "{He} called for help, but only the wind answered."),
        ("gray goose", "old donkey", "clever crow"),
        ('"Your house is behind the hill, so follow me," said the {helper}, and soon they saw the house.',
         "The {helper} knew every path and led {name} home before it was dark."),
        ("At home, {name} made tea for them both.", "{name} was so happy to see {his} own door again."),
        ("When you are lost, stay calm and ask for help.", "There is no place like home."),
    ),
    Problem(
        "mud", "got stuck in the mud",
        ("{name} took a short cut and got stuck in deep mud.",
         "{name} stepped into a big puddle and got stuck in the mud."),
        ("{name} could not move.", "{He} was cold and dirty.", "{He} did not know what to do."),
        ("{He} pulled and pulled, but {he} only sank a little deeper.",
         "{He} tried to jump out, but the mud held {him} tight."),
        ("strong ox", "brown cow", "big horse"),
        ("The {helper} held out a long rope and pulled until {name} was free with a loud plop.",
         '"Hold this branch," said the {helper}, and pulled {him} out step by step.'),
        ("They looked at the mud on {his} feet and laughed.", "Then {name} took a long warm bath."),
        ("A short cut is not always the best way.",) + KINDNESS,
    ),
    Problem(
        "sleep", "could not sleep",
        ("{name} went to bed early but could not fall asleep.", "{name} lay in bed, but sleep did not come."),
        ("{name} was very tired.", "{He} turned to the left and to the right.", "{His} head was full of thoughts."),
        ("{He} counted to one hundred, but {he} was still awake.",
         "{He} went outside for some air, but it did not help."),
        ("quiet moth", "gray dove", "soft white sheep"),
        ('The {helper} sang a slow, soft song, and the eyes of {name} grew heavy.',
         '"Think of the best thing that happened today," said the {helper}, and {name} thought of it and grew calm.'),
        ("Soon {name} was fast asleep.", "{name} slept until the sun came up."),
        ("Happy thoughts bring good sleep.", "A soft song is a good friend at night."),
        EVENINGS,
    ),
    Problem(
        "toy", "broke a toy",
        ("{name} dropped {his} best toy, and a wheel came off.",
         "{name} was in a hurry and stepped on {his} toy car, and it broke."),
        SAD,
        ("{He} tried to fix it with mud, but the mud did not hold.",
         "{He} tied it with grass, but the grass was too weak."),
        ("busy beaver", "clever spider", "handy badger"),
        ("The {helper} brought some strong glue, and together they fixed the toy.",
         '"I can show you how to fix it," said the {helper}, and they worked until the toy was like new.'),
        ("{name} played with the toy until bedtime.", "After that, {name} always put {his} toys away with care."),
        ("Broken things can often be fixed.", "Take good care of the things you love."),
    ),
    Problem(
        "quarrel", "had a fight with a friend",
        ("{name} and {his} best friend both wanted the same apple, and they had a fight.",
         "{name} said something mean, and {his} best friend ran away."),
        ("Now {name} was sorry.", "{name} felt bad about it.", "{He} missed {his} friend very much."),
        ("{He} tried to play alone, but it was no fun.", "{He} waited for {his} friend, but nobody came."),
        ("wise owl", "old turtle", "kind goose"),
        ('"Say that you are sorry," said the {helper}, and {name} went to {his} friend and said it.',
         ('"A fight ends when one of you is kind," said the {helper}, so {name} took a sweet apple to {his} friend, '
          "and they shared it.")),
        ("The two friends were happy again.", "Soon the fight was forgotten, and they played until evening."),
        ("It is brave to say sorry.", "A good friend is worth more than an apple."),
    ),
    Problem(
        "sing", "was too shy to sing",
        ("there was a big feast, and {name} had to sing, but {he} was too shy.",
         "everyone wanted {name} to sing at a party, but {he} was too shy."),
        ("{His} heart beat fast.", "{name} hid behind a tree.", "{name} could not make a sound."),
        ("{He} opened {his} mouth, but no sound came out.",
         "{He} tried to sing very softly, but nobody could hear it."),
        ("small green frog", "cheerful cricket", "brave robin"),
        ('"Let us sing together," said the {helper}, and with two voices it was easy.',
         '"Look only at me and sing for me," said the {helper}, and {name} sang the whole song.'),
        ("Everyone clapped, and {name} was proud.", "In the end, {name} sang three more songs."),
        ("You can do more than you think.", "Being brave is easier with a friend."),
    ),
    Problem(
        "basket", "had a heavy basket",
        ("{name} filled a basket with apples for Grandma, but it was too heavy.",
         "{name} had to bring a big basket of bread to Grandma, but it was too heavy."),
        ("{name} was soon very tired.", "{His} back hurt.", "{He} had to stop after every step."),
        ("{He} tried to push the basket, but it did not move.",
         "{He} tried to pull the basket with a rope, but the rope broke."),
        ("strong donkey", "big goat", "busy ant"),
        ('"I have a little cart," said the {helper}, and they rolled the basket to the house of Grandma.',
         "The {helper} took one side and {name} took the other, and so they carried the basket together."),
        ("Grandma was happy and gave each of them a cookie.", "They all sat down with Grandma and had a little feast."),
        ("Together, heavy things become light.",) + KINDNESS,
    ),
    Problem(
        "key", "lost a key",
        ("{name} came home and found that {his} key was gone.",
         "{name} wanted to go into the house, but the key was not in {his} bag."),
        ("{name} was worried.", "{name} stood in front of the closed door.", "{He} did not know what to do."),
        ("{He} looked under the mat, but there was no key.", "{He} tried the windows, but they were all closed."),
        ("curious magpie", "clever crow", "small mole"),
        ('"I found something shiny on the path today," said the {helper}, and it was the key.',
         "The {helper} helped {him} look along the path, and there in the grass was the key."),
        ("{name} opened the door and asked the {helper} to stay for dinner.",
         "From then on, {name} wore the key on a string."),
        ("Keep important things in a safe place.",) + KINDNESS,
    ),
    Problem(
        "rain", "had no umbrella in the rain",
        ("{name} went for a long walk, and suddenly it began to rain.",
         "{name} was far from home when big drops of rain fell from the sky."),
        ("{name} had no umbrella and got very wet.", "{He} was cold and wet.", "{He} shook in the cold wind."),
        ("{He} stood under a small tree, but the rain still found {him}.",
         "{He} put a leaf on {his} head, but the leaf was too small."),
        ("kind badger", "friendly goat", "old beaver"),
        ('"Come into my house," said the {helper}, and they sat by the warm fire until the rain stopped.',
         "The {helper} had a big umbrella, and there was room for two under it."),
        ("When the sun came back, they saw a beautiful rainbow.", "Later they jumped in the puddles and laughed."),
        ("After the rain comes the sun.", "There is always room for a friend."),
    ),
    Problem(
        "flower", "had a thirsty flower",
        ("{name} saw that {his} favorite flower hung its head, because it had not rained for weeks.",
         "{name} found {his} little flower dry and weak, because the sun was so hot."),
        ("{name} was worried about the flower.", "{He} did not want the flower to die.",
         "{name} was sad for the flower."),
        ("{He} waited for rain, but there was no cloud in the sky.",
         "{He} carried a few drops of water in a leaf, but it was not enough."),
        ("gentle cow", "young deer", "gray donkey"),
        ("The {helper} brought a big bucket of water, and together they gave the flower a long drink.",
         '"There is a well nearby," said the {helper}, and they carried water from it until the earth was wet.'),
        ("The next morning, the flower stood tall and bright.", "Soon the flower had three new buds."),
        ("Living things need care every day.", "Small drops of love make things grow."),
        ("One hot day", "One summer morning", "One sunny afternoon"),
    ),
    Problem(
        "birthday", "forgot a birthday",
        ("{name} remembered that it was the birthday of {his} best friend, and there was no gift.",
         "{name} saw balloons at the house of {his} best friend and knew that {he} had forgotten the birthday."),
        ("{name} felt very bad.", "{His} face turned red.", "{He} did not want to go without a gift."),
        ("{He} ran to the shop, but the shop was closed.", "{He} tried to bake a cake, but it burned."),
        ("busy bee", "clever magpie", "kind hen"),
        (('"Make something with your own hands," said the {helper}, so {name} painted a lovely card '
          "with a big red heart."),
         "The {helper} helped {him} pick the most beautiful flowers, and they tied them with a ribbon."),
        ("The friend said it was the best gift of all.",
         "{name} came to the party just in time, and everyone was happy."),
        ("The best gifts come from the heart.", "A gift does not have to cost much."),
    ),
    Problem(
        "hungry", "had nothing to eat",
        ("{name} was very hungry, but there was no food at home.",
         "{name} opened the kitchen cupboard, and it was empty."),
        ("{His} stomach made a loud noise.", "{name} felt weak.", "{name} dreamed of warm bread."),
        ("{He} looked for berries, but the bushes were empty.", "{He} drank some water, but {he} was still hungry."),
        ("kind hen", "busy hamster", "old goat"),
        ('"I have more than I need," said the {helper}, and shared a loaf of bread and a red apple.',
         "The {helper} had a big pot of soup, and there was enough for two."),
        ("The next day they planted a little garden together, so that there would always be food.",
         "They ate until they were full and told each other stories."),
        ("Food tastes best when it is shared.", "When you share, there is enough for everyone."),
    ),
)
# fmt: on
